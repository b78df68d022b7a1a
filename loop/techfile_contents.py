"""The technical documentation of a model, written from what is on record of it."""

from __future__ import annotations

from loop.techfile import Section, Techfile, cited
from loop.techfile_data import data_sheet
from loop.techfile_development import development
from loop.techfile_general import general
from loop.techfile_life import life
from loop.techfile_people import people
from loop.techfile_records import Records
from loop.techfile_security import security
from loop.techfile_tests import tests


def write_techfile(records: Records) -> Techfile:
    """All points of Annex IV, whatever is on record: what is not is a gap."""
    detailed = Section(
        "2",
        "Elements and development",
        "A detailed description of the elements of the system and of its development.",
        (),
        (
            *development(records),
            data_sheet(records),
            *people(records),
            tests(records),
            security(records),
        ),
    )
    sections = (general(records), detailed, *life(records))
    return techfile_of(records, sections)


def techfile_of(records: Records, sections: tuple[Section, ...]) -> Techfile:
    """With the events that ``sections`` cite."""
    wanted = cited(sections)
    events = tuple(each for each in records.events if each.index in wanted)
    return Techfile(records.ref, records.made_at, records.made_by, records.log, sections, events)

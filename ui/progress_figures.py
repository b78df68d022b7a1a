"""What the progress page shows, read in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from loop.cases import CaseState, Source
from loop.classes import ClassList
from loop.ports import UnitsOfWork
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.reliability import DoubleReading, Reliability, reliability

DAYS = 30


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page shows. All but ``done``, ``days``, ``seconds`` and ``verdicts`` are always
    everyone's, those of one person if only theirs were asked for."""

    waiting: Mapping[CaseState, int]
    done: Done
    days: Mapping[str, Done]
    today: str
    seconds: ActiveSeconds
    verdicts: Mapping[int, Verdicts]
    sources: Mapping[Source, int]
    agreement: tuple[Reliability, ...]
    classes: ClassList | None


def read_figures(units: UnitsOfWork, reviewer: str | None, at: str) -> Figures:
    """``reviewer`` is a pseudonym, None for everyone; ``at`` is the time it is now (RFC 3339)."""
    first_day = datetime.fromisoformat(at).date() - timedelta(days=DAYS - 1)
    with units() as uow:
        found = uow.statistics
        classes = uow.classes.find()
        readings = found.double_readings()
        figures = Figures(
            waiting=uow.cases.counts(),
            done=found.done(reviewer),
            days=found.done_per_day(first_day.isoformat(), reviewer),
            today=at[:10],
            seconds=found.active_seconds(reviewer),
            verdicts=found.verdicts(reviewer) if classes else {},
            sources=found.annotations_by_source(),
            agreement=(),
            classes=classes,
        )
    return replace(figures, agreement=_agreement(tuple(readings), classes)) if classes else figures


@lru_cache(maxsize=1)
def _agreement(readings: tuple[DoubleReading, ...], classes: ClassList) -> tuple[Reliability, ...]:
    """Kept until there is another second review: it takes longer than all the rest."""
    return tuple(reliability(readings, classes))

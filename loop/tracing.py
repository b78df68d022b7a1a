"""Chains through the record, as trees: from something back to what it was made of
(`loop.origins`), and on to what was made of it (`loop.consequences`).

What is followed are the references in events. Which answers a snapshot holds stands in its files;
where these are not at hand, that is said, and so is whatever else is not on record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from loop.events import Event

# As in `loop.event_references`: ("case", id), ("model", "name/version").
Reference = tuple[str, str]

# Of one kind in one step: nobody reads more, and each costs a look-up.
MOST_EVENTS = 100
MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """An event in its place in the log."""

    index: int
    event: Event


class FindsEvents(Protocol):
    def find(
        self, about: Sequence[Reference], types: Sequence[str] = (), limit: int = MOST_EVENTS
    ) -> list[Found]:
        """The last ``limit`` about all of these, oldest first; ``types`` as in
        `loop.event_query.EventQuery`."""

    def get(self, event_id: str) -> Found | None: ...


class KnowsSnapshots(Protocol):
    """What snapshots hold, by their files."""

    def first(self, snapshot_sha256: str, limit: int) -> tuple[list[str], int] | None:
        """The ids of the first ``limit`` answers in it, and how many there are; None where its
        files are not at hand, or are not what the digest says."""

    def holds(self, snapshot_sha256: str, answers: Sequence[str]) -> dict[str, bool] | None:
        """Those of the ``answers``, by their ids, that are in it, each with whether it is in the
        gold set; None as in `first`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A link of the chain. ``gaps`` are what is missing here, in words."""

    title: str
    events: tuple[Found, ...] = ()
    steps: tuple[Step, ...] = ()
    note: str = ""
    gaps: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "note": self.note,
            "gaps": list(self.gaps),
            "events": [
                {
                    "index": found.index,
                    "id": found.event.id,
                    "type": found.event.type,
                    "at": found.event.at,
                    "actor": found.event.actor.pseudonym,
                    "role": found.event.actor.role.value,
                    "outcome": found.event.outcome.value,
                }
                for found in self.events
            ],
            "steps": [step.as_dict() for step in self.steps],
        }

    def walk(self) -> Iterable[Step]:
        yield self
        for step in self.steps:
            yield from step.walk()


def step(
    title: str,
    events: Iterable[Found] = (),
    steps: Iterable[Step | None] = (),
    *,
    note: str = "",
    gap: str = "",
) -> Step:
    """With ``events`` in the log's order, each once, and without the ``steps`` that are None."""
    unique = {found.index: found for found in events}
    return Step(
        title,
        tuple(unique[index] for index in sorted(unique)),
        tuple(each for each in steps if each is not None),
        note,
        (gap,) if gap else (),
    )


def with_event(tree: Step, start: Found) -> Step:
    """``tree`` with the event that was asked about in its first step."""
    shown = {found.index: found for found in (*tree.events, start)}
    return replace(tree, events=tuple(shown[index] for index in sorted(shown)))


def with_purges(record: FindsEvents, tree: Step) -> Step:
    """``tree`` with a gap for the entries that are gone, if entries past their retention were."""
    purged = [each for each in record.find((), ("log.purged",)) if each.event.outcome == "done"]
    if not purged:
        return tree
    last = max(int(each.event.subject.get("last", 0)) for each in purged)
    gap = (
        f"The entries up to {last} were deleted when their retention had ended: what they said is "
        "missing here, and is no gap of its own."
    )
    gone = step("Entries that are gone", purged, gap=gap)
    return replace(tree, steps=(*tree.steps, gone))


def model_of(event: Event, field: str = "model") -> str:
    """``name/version``; empty if the event names none in that field of its subject."""
    return name_of(event.subject.get(field))


def name_of(model: Any) -> str:
    if isinstance(model, Mapping) and {"name", "version"} <= model.keys():
        return f"{model['name']}/{model['version']}"
    return ""


def text_of(event: Event, field: str) -> str:
    """A field of the subject; empty if it is not there."""
    value = event.subject.get(field)
    return value if isinstance(value, str) else ""


def done(found: Iterable[Found]) -> list[Found]:
    return [each for each in found if each.event.outcome.value == "done"]


def about_any(
    record: FindsEvents, about: Sequence[Reference], types: Sequence[str] = ()
) -> list[Found]:
    """The events about one of several references that mean the same thing."""
    found = {each.index: each for one in about for each in record.find((one,), types)}
    return [found[index] for index in sorted(found)]


def short(digest: str) -> str:
    return f"{digest[:12]}…" if len(digest) > 16 else digest

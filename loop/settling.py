"""What a second reviewer settles: three layers side by side, and the answer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from loop.boxes import Box
from loop.corrections import Dropped, FinalBox, How, Lineage
from loop.errors import InvalidAnswer
from loop.predictions import Detection

# Why a final box is what it is, or why a box became nothing.
SETTLE_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "agreed": "All agree",
        "boundary": "Edges corrected",
        "class": "Class corrected",
        "missed": "It had been missed",
        "false_positive": "There is nothing there",
        "duplicate": "The same thing twice",
        "image_quality": "The image does not show it well enough",
        "guideline": "The labelling guideline says so",
        "other": "Another reason",
    }
)


@dataclass(frozen=True, slots=True)
class Layers:
    """The model's detections, the first reviewer's boxes and the second reviewer's blind ones."""

    model: tuple[Detection, ...]
    first: tuple[FinalBox, ...]
    second: tuple[FinalBox, ...]


@dataclass(frozen=True, slots=True)
class SettledAnswer:
    """What a second reviewer hands in after seeing all three layers.

    Each of ``boxes`` carries its lineage; ``dropped`` are those that became nothing. Every box of
    the three layers is in one or the other. ``reason`` is a code of `SETTLE_REASONS`.
    ``active_seconds`` count from the reveal on: those of the blind part are added to them.
    """

    boxes: tuple[FinalBox, ...]
    reason: str
    dropped: tuple[Dropped, ...] = ()
    comment: str = ""
    active_seconds: float = 0.0


def check_settled(answer: SettledAnswer, layers: Layers) -> None:
    """Raise `InvalidAnswer` unless the answer accounts for every box of the three layers, names
    only boxes that are there, and what it says it picked is what it has."""
    known: dict[str, list[tuple[Box, int]]] = {}
    everything: tuple[Detection | FinalBox, ...] = (*layers.model, *layers.first, *layers.second)
    for each in everything:
        known.setdefault(each.id, []).append((each.box, each.class_id))
    _check_reason(answer.reason)
    used: set[str] = set()
    for box in answer.boxes:
        lineage = _checked_lineage(box, known)
        used.update(lineage.sources)
    dropped = [source for given_up in answer.dropped for source in given_up.sources]
    for given_up in answer.dropped:
        _check_reason(given_up.reason)
        _check_sources(given_up.sources, known)
    if len(set(dropped)) != len(dropped) or used & set(dropped):
        raise InvalidAnswer("A box is dropped twice, or both dropped and used.")
    missing = sorted(known.keys() - used - set(dropped))
    if missing:
        raise InvalidAnswer(
            f"These boxes are unaccounted for: {', '.join(missing)}.",
            hint="Pick, merge, redraw or drop every box of the three layers.",
        )


def _checked_lineage(box: FinalBox, known: Mapping[str, list[tuple[Box, int]]]) -> Lineage:
    lineage = box.lineage
    if lineage is None:
        raise InvalidAnswer(f"Box {box.id} does not say what it was made of.")
    _check_reason(lineage.reason)
    _check_sources(lineage.sources, known)
    candidates = [found for source in lineage.sources for found in known[source]]
    if lineage.how is How.PICKED and (box.box, box.class_id) not in candidates:
        raise InvalidAnswer(
            f"Box {box.id} was picked, but equals none of its sources.",
            hint="A box whose edges or class were changed is redrawn.",
        )
    if lineage.how is How.MERGED and len(lineage.sources) < 2:
        raise InvalidAnswer(f"Box {box.id} was merged out of fewer than two boxes.")
    return lineage


def _check_sources(sources: Sequence[str], known: Mapping[str, object]) -> None:
    unknown = [source for source in sources if source not in known]
    if unknown:
        raise InvalidAnswer(f"There is no box {', '.join(unknown)} to make anything of.")
    if len(set(sources)) != len(sources):
        raise InvalidAnswer("A source is named twice.")


def _check_reason(code: str) -> None:
    if code not in SETTLE_REASONS:
        raise InvalidAnswer(
            f"{code!r} is no reason code.", hint=f"One of: {', '.join(SETTLE_REASONS)}."
        )

"""What the gate's rule makes of each requirement, in words that need no statistics.

A requirement is met when its bound lies on the right side, refuted when the other bound lies on the
wrong one, and open in between: then more gold images may decide, and how many is reckoned from the
spread, which shrinks with the square root of their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from loop.bootstrap import Interval
from loop.gate_record import ClassChange, GateRecord
from loop.latency import Latency

LATENCY = "Time for an image"

# With so many standard errors to spare, four of five sets of the reckoned size decide.
_TO_SPARE = 0.84
# A larger set is nothing to ask for.
_MOST_IMAGES = 100_000


class Outcome(StrEnum):
    MET = "met"
    OPEN = "open"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Finding:
    """``images`` is the size of gold set that would decide an open requirement four times out of
    five, if what was measured is so; None where no size would, or none can be told."""

    requirement: str
    outcome: Outcome
    text: str
    images: int | None = None


def findings(record: GateRecord) -> list[Finding]:
    """All of them must be met: a promotion that is wrong by one requirement is no likelier than
    that requirement's own risk (an intersection-union test: Berger, Technometrics 24, 1982)."""
    settings = record.settings
    gains = [
        _gain("mAP50-95", record.map50_95, settings.min_gain, record),
        _gain("mAP50", record.map50, settings.min_gain_50, record),
    ]
    classes = [_class(name, change, record) for name, change in record.classes.items()]
    latency = [_latency(record.latency, settings.max_latency_factor)] if record.latency else []
    return [*gains, *classes, *latency]


def _gain(name: str, gain: Interval, least: float, record: GateRecord) -> Finding:
    above = "above zero" if least == 0 else f"above {least:+.3f}"
    measured = f"{name} changes by {gain.estimate:+.3f}"
    if gain.lower is not None and gain.lower > least:
        shown = "it is better" if least >= 0 else above
        text = f"{measured}, by at least {gain.lower:+.3f} even with bad luck: {shown}."
        return Finding(name, Outcome.MET, text)
    if gain.upper is not None and gain.upper <= least:
        text = f"{measured}, by no more than {gain.upper:+.3f} even with good luck: not {above}."
        return Finding(name, Outcome.REFUTED, text)
    text = f"{measured}, but {_span(gain)} could be luck of the draw: not shown to be {above}."
    images = _images_needed(gain, least, record.images)
    return Finding(name, Outcome.OPEN, text, images)


def _class(name: str, change: ClassChange, record: GateRecord) -> Finding:
    allowed, interval = record.settings.max_class_loss, change.interval
    requirement = f"{name}, AP50-95"
    if interval.lower is not None and interval.lower > -allowed:
        text = f"{name} does not lose {allowed:.2f} of AP50-95 or more."
        return Finding(requirement, Outcome.MET, text)
    measured = f"{name} changes by {interval.estimate:+.3f} AP50-95"
    if interval.upper is not None and interval.upper < -allowed:
        text = f"{measured}: it gets worse by more than the {allowed:.2f} that are allowed."
        return Finding(requirement, Outcome.REFUTED, text)
    where = f"it is on only {change.groups} {_units(record, change.groups)}"
    if interval.lower is None:
        return Finding(requirement, Outcome.OPEN, f"{measured}, but {where}: too few to tell.")
    text = (
        f"{measured}, but could be down to {interval.lower:+.3f}, and no more than {allowed:.2f} "
        f"may be lost: {where}."
    )
    images = _images_needed(interval, -allowed, record.images)
    return Finding(requirement, Outcome.OPEN, text, images)


def _latency(latency: Latency, most: float) -> Finding:
    measured = (
        f"An image takes {latency.candidate_ms:.0f} ms, {latency.factor:.2f} times the champion's "
        f"{latency.champion_ms:.0f} ms"
    )
    if latency.upper <= most:
        return Finding(LATENCY, Outcome.MET, f"{measured}: {most:.2f} are allowed.")
    if latency.lower > most:
        text = f"{measured}: more than the {most:.2f} times that are allowed."
        return Finding(LATENCY, Outcome.REFUTED, text)
    text = (
        f"{measured}, but it may be {latency.lower:.2f} to {latency.upper:.2f} times, and "
        f"{most:.2f} are allowed: measure again on a machine that does nothing else."
    )
    return Finding(LATENCY, Outcome.OPEN, text)


def _images_needed(change: Interval, least: float, images: int) -> int | None:
    if change.lower is None or change.estimate <= least:
        return None
    reach = change.estimate - change.lower + _TO_SPARE * change.standard_error
    needed = images * (reach / (change.estimate - least)) ** 2
    if needed > _MOST_IMAGES:
        return None
    # Two digits: no more is known of it.
    step = int(10 ** max(0, math.floor(math.log10(needed)) - 1))
    return math.ceil(needed / step) * step


def _span(interval: Interval) -> str:
    if interval.lower is None or interval.upper is None:
        return "with so few images any change"
    return f"anything from {interval.lower:+.3f} to {interval.upper:+.3f}"


def _units(record: GateRecord, count: int) -> str:
    word = "gold image" if record.groups == record.images else "subject"
    return word if count == 1 else f"{word}s"

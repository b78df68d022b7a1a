"""Human oversight in figures (EU AI Act, Art. 14): what people saw, how long they looked, how often
they overrode the model, and whether seeing it led them.

Automation bias (Art. 14(4)(b)) is looked for where one image was seen by two people, the second one
blind. Of the final answer, which the second person gave after everything was shown, two questions
are asked: of the model's wrong boxes, which share did who saw them keep, and which share did who
did not see them draw too (errors of commission); and of the objects that the model missed, which
share did each of them miss (errors of omission). Goddard, Roudsari and Wyatt, "Automation bias: a
systematic review", JAMIA 19 (2012), 121-127. Boxes are the same when they have one class and an
IoU of 0.5 at least, matched one to one.

The second reader's final answer is the measure of both, which favours that person: a difference is
a reason to look, not a proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from loop.boxes import as_array, iou_matrix
from loop.looks import Boxes, FirstLook, SecondLook, Shown
from loop.progress import Verdicts
from loop.rates import Mean, Rate, Spread, by_key, rate_of

_MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Work:
    """Of one person, one model, one week, or all. ``overridden`` is the share of detections that
    were not accepted as they were, ``changed`` the share of answers that differ from the model."""

    name: str
    verdicts: Verdicts
    overridden: Rate
    changed: Rate
    first_seconds: Spread
    second_seconds: Spread

    def as_dict(self) -> dict[str, Any]:
        counts: dict[str, int | None] = {**asdict(self.verdicts)}
        if self.overridden.value is None:  # counts would tell the share
            counts = dict.fromkeys(counts)
        return {
            "name": self.name,
            "detections": self.verdicts.detections,
            **counts,
            "overridden": self.overridden.as_dict(),
            "changed": self.changed.as_dict(),
            "first_seconds": self.first_seconds.as_dict(),
            "second_seconds": self.second_seconds.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Bias:
    """Who saw the model against who did not, on the same images; see the module. ``closer`` is by
    how much the first answer agrees more with the model than the blind boxes do (F1, in [-1, 1],
    above 0: closer); ``drawn`` the same of the final boxes and the blind ones."""

    images: int
    kept_seen: Rate
    kept_blind: Rate
    missed_seen: Rate
    missed_blind: Rate
    closer: Mean
    drawn: Mean

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "wrong_boxes_kept_by_who_saw_them": self.kept_seen.as_dict(),
            "wrong_boxes_drawn_by_who_did_not": self.kept_blind.as_dict(),
            "missed_objects_missed_by_who_saw_the_model": self.missed_seen.as_dict(),
            "missed_objects_missed_by_who_did_not": self.missed_blind.as_dict(),
            "closer_to_the_model_f1": self.closer.as_dict(),
            "drawn_to_the_model_f1": self.drawn.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Oversight:
    """``by_pick`` is told by how a case came to its first reviewer; ``changed_first`` says how
    often a second reviewer's answer is not the first one, ``changed_blind`` not their own blind
    one."""

    total: Work
    reviewers: tuple[Work, ...]
    models: tuple[Work, ...]
    weeks: tuple[Work, ...]
    by_pick: tuple[Work, ...]
    shown: tuple[Shown, ...]
    second_reviews: int
    sent_on: Rate
    sent_for: Mapping[str, int]
    changed_first: Rate
    changed_blind: Rate
    bias: Bias

    def as_dict(self) -> dict[str, Any]:
        return {
            "total": self.total.as_dict(),
            "reviewers": [each.as_dict() for each in self.reviewers],
            "models": [each.as_dict() for each in self.models],
            "weeks": [each.as_dict() for each in self.weeks],
            "by_pick": [each.as_dict() for each in self.by_pick],
            "shown": [
                {"phase": each.phase, "picked": each.picked, "count": each.count}
                for each in self.shown
            ],
            "second_reviews": self.second_reviews,
            "sent_to_a_second_person": self.sent_on.as_dict(),
            "sent_for": dict(self.sent_for),
            "second_changed_the_first_answer": self.changed_first.as_dict(),
            "second_changed_their_blind_answer": self.changed_blind.as_dict(),
            "automation_bias": self.bias.as_dict(),
        }


def oversee(
    first: Sequence[FirstLook],
    second: Sequence[SecondLook],
    shown: Sequence[Shown],
    picked: Mapping[str, str],
) -> Oversight:
    """``picked`` says of a case how it came to its first reviewer, as far as that is known."""
    known = [each for each in first if each.case_id in picked]
    by_pick = by_key(known, lambda each: picked[each.case_id])
    return Oversight(
        total=_work("all", first, second),
        reviewers=_by_reviewer(first, second),
        models=tuple(_work(k, v, ()) for k, v in by_key(first, lambda e: e.model).items()),
        weeks=_by_week(first, second),
        by_pick=tuple(_work(name, looks, ()) for name, looks in by_pick.items()),
        shown=tuple(shown),
        second_reviews=len(second),
        sent_on=rate_of([bool(each.sent_on) for each in first]),
        sent_for=dict(sorted(Counter(r for each in first for r in each.sent_on).items())),
        changed_first=rate_of([not same(each.first, each.final) for each in second]),
        changed_blind=rate_of([not same(each.blind, each.final) for each in second]),
        bias=bias(second),
    )


def bias(second: Sequence[SecondLook]) -> Bias:
    kept_seen, kept_blind = list[bool](), list[bool]()
    missed_seen, missed_blind = list[bool](), list[bool]()
    for each in second:
        wrong = _without(each.detections, each.final)
        missed = _without(each.final, each.detections)
        for flags, boxes in ((kept_seen, each.first), (kept_blind, each.blind)):
            flags += _has_partner(wrong, boxes)
        for flags, boxes in ((missed_seen, each.first), (missed_blind, each.blind)):
            flags += [not has for has in _has_partner(missed, boxes)]
    return Bias(
        images=len(second),
        kept_seen=rate_of(kept_seen),
        kept_blind=rate_of(kept_blind),
        missed_seen=rate_of(missed_seen),
        missed_blind=rate_of(missed_blind),
        closer=Mean.of([f1(e.first, e.detections) - f1(e.blind, e.detections) for e in second]),
        drawn=Mean.of([f1(e.final, e.detections) - f1(e.blind, e.detections) for e in second]),
    )


def f1(left: Boxes, right: Boxes) -> float:
    """2 x matched / all boxes, in [0, 1]; 1 where neither side has any."""
    total = len(left) + len(right)
    return 2 * len(partners(left, right)) / total if total else 1.0


def same(left: Boxes, right: Boxes) -> bool:
    return len(left) == len(right) == len(partners(left, right))


def partners(left: Boxes, right: Boxes) -> list[tuple[int, int]]:
    """Which boxes are the same: the most pairs that can be matched one to one."""
    if not left or not right:
        return []
    from scipy.optimize import linear_sum_assignment  # slow to import, and only this needs it

    iou = iou_matrix(as_array([b.box for b in left]), as_array([b.box for b in right]))
    classes = [np.array([b.class_id for b in side]) for side in (left, right)]
    hits = (iou >= _MATCH_IOU) & (classes[0][:, None] == classes[1][None, :])
    rows, columns = linear_sum_assignment(hits, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(i, j) for i, j in pairs if hits[i, j]]


def _without(boxes: Boxes, others: Boxes) -> Boxes:
    matched = {i for i, _ in partners(boxes, others)}
    return tuple(box for i, box in enumerate(boxes) if i not in matched)


def _has_partner(boxes: Boxes, others: Boxes) -> list[bool]:
    matched = {i for i, _ in partners(boxes, others)}
    return [i in matched for i in range(len(boxes))]


def _by_reviewer(first: Sequence[FirstLook], second: Sequence[SecondLook]) -> tuple[Work, ...]:
    firsts, seconds = by_key(first, lambda e: e.reviewer), by_key(second, lambda e: e.reviewer)
    names = sorted({*firsts, *seconds})
    return tuple(_work(name, firsts.get(name, ()), seconds.get(name, ())) for name in names)


def _by_week(first: Sequence[FirstLook], second: Sequence[SecondLook]) -> tuple[Work, ...]:
    firsts, seconds = by_key(first, lambda e: week(e.at)), by_key(second, lambda e: week(e.at))
    names = sorted({*firsts, *seconds})
    return tuple(_work(name, firsts.get(name, ()), seconds.get(name, ())) for name in names)


def week(at: str) -> str:
    """The ISO week (8601) of a time: ``2026-W05``."""
    year, number, _ = datetime.fromisoformat(at).isocalendar()
    return f"{year}-W{number:02d}"


def _work(name: str, first: Sequence[FirstLook], second: Sequence[SecondLook]) -> Work:
    verdicts = sum((each.verdicts for each in first), Verdicts())
    return Work(
        name=name,
        verdicts=verdicts,
        overridden=Rate(verdicts.detections - verdicts.accepted, verdicts.detections),
        changed=rate_of([each.overrode for each in first]),
        first_seconds=Spread.of([each.active_seconds for each in first]),
        second_seconds=Spread.of([each.active_seconds for each in second]),
    )

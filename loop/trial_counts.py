"""What is counted of a trial while it runs: sums alone, which add up over replicas.

No image, detection or id is kept: nothing here says who sent what.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from loop.agreement import LabelledBox
from loop.boxes import as_array, iou_matrix
from loop.classes import ClassList
from loop.confusion import pair_up
from loop.predictions import SCORE_BOUNDS, Detection

# Upper ends of the bins of confidences, as in the metrics for Prometheus.

# A matched box overlaps this much, as for a hit in VOC and COCO.
MATCH_IOU = 0.5
# Bins of latency grow by a tenth each, from 0.1 ms on: a quantile is known to 5 %.
_SHORTEST_SECONDS = 1e-4
_GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class Look:
    """What one model saw in one image; ``seconds`` from its pixels to its boxes."""

    classes: ClassList
    detections: tuple[Detection, ...]
    seconds: float


@dataclass(slots=True)
class Rate:
    """Detections an image: their number, the sum of its squares over images (for the variance),
    and how many have a confidence in each bin of `SCORE_BOUNDS`."""

    detections: int = 0
    squares: int = 0
    scores: list[int] = field(default_factory=lambda: [0] * len(SCORE_BOUNDS))

    def add(self, confidences: list[float]) -> None:
        self.detections += len(confidences)
        self.squares += len(confidences) ** 2
        for confidence in confidences:
            self.scores[bisect_left(SCORE_BOUNDS, confidence)] += 1


@dataclass(slots=True)
class ModelCounts:
    """Of one model. ``errors`` are images that it should have answered and did not; ``latency``
    counts by bin."""

    images: int = 0
    errors: int = 0
    seconds: float = 0.0
    latency: dict[str, int] = field(default_factory=dict)
    total: Rate = field(default_factory=Rate)
    classes: dict[str, Rate] = field(default_factory=dict)

    def add(self, look: Look) -> None:
        self.images += 1
        self.seconds += look.seconds
        place = _latency_bin(look.seconds)
        self.latency[place] = self.latency.get(place, 0) + 1
        by_class: dict[str, list[float]] = {}
        for each in look.detections:
            by_class.setdefault(look.classes.name_of(each.class_id), []).append(each.confidence)
        self.total.add([each.confidence for each in look.detections])
        for name, confidences in by_class.items():
            self.classes.setdefault(name, Rate()).add(confidences)

    def quantile(self, share: float) -> float | None:
        """Seconds that ``share`` of the images took at most; None without any."""
        left = share * sum(self.latency.values())
        for name in sorted(self.latency, key=int):
            left -= self.latency[name]
            if left <= 0:
                return float(_SHORTEST_SECONDS * _GROWTH ** (int(name) + 0.5))
        return None


@dataclass(slots=True)
class PairCounts:
    """Boxes of images that both models saw. ``relabelled`` lie on one another with two classes;
    ``iou`` and ``confidence`` (the candidate's less the champion's) are sums over the ``matched``.
    """

    matched: int = 0
    only_champion: int = 0
    only_candidate: int = 0
    relabelled: int = 0
    iou: float = 0.0
    confidence: float = 0.0


@dataclass(slots=True)
class TrialCounts:
    """``paired`` images were seen by both, ``skipped`` ones were not given to the candidate since
    there was no time for it. ``pairs`` are by class: the champion's, where it has the box."""

    champion: ModelCounts = field(default_factory=ModelCounts)
    candidate: ModelCounts = field(default_factory=ModelCounts)
    paired: int = 0
    skipped: int = 0
    pairs: dict[str, PairCounts] = field(default_factory=dict)

    def add_pair(self, champion: Look, candidate: Look) -> None:
        """One image, seen by both. Classes are the same if they have the same name."""
        self.champion.add(champion)
        self.candidate.add(candidate)
        self.paired += 1
        names = [*dict.fromkeys((*champion.classes, *candidate.classes))]
        ours, theirs = _labelled(champion, names), _labelled(candidate, names)
        pairing = pair_up(ours, theirs, confidence=0.0, iou=MATCH_IOU)
        if pairing.found:
            overlaps = iou_matrix(
                as_array([each.box for each in ours]), as_array([each.box for each in theirs])
            )
            for left, right in pairing.found:
                pair = self._of(names[ours[left].class_id])
                pair.matched += 1
                pair.iou += float(overlaps[left, right])
                pair.confidence += theirs[right].confidence - ours[left].confidence
        for left, _ in pairing.confused:
            self._of(names[ours[left].class_id]).relabelled += 1
        for left in pairing.missed:
            self._of(names[ours[left].class_id]).only_champion += 1
        for right in pairing.false:
            self._of(names[theirs[right].class_id]).only_candidate += 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialCounts:
        return cls(
            _model_counts(data["champion"]),
            _model_counts(data["candidate"]),
            data["paired"],
            data["skipped"],
            {name: PairCounts(**each) for name, each in data["pairs"].items()},
        )

    def _of(self, name: str) -> PairCounts:
        return self.pairs.setdefault(name, PairCounts())


def summed(counts: Iterable[TrialCounts]) -> TrialCounts:
    """Of several replicas together."""
    total: Any = TrialCounts().as_dict()
    for each in counts:
        total = _sum(total, each.as_dict())
    return TrialCounts.from_dict(total)


def _sum(left: Any, right: Any) -> Any:
    if isinstance(left, dict):
        both = dict(left)
        for name, value in right.items():
            both[name] = _sum(both[name], value) if name in both else value
        return both
    if isinstance(left, list):
        return [one + other for one, other in zip(left, right, strict=True)]
    return left + right


def _model_counts(data: Mapping[str, Any]) -> ModelCounts:
    return ModelCounts(
        data["images"],
        data["errors"],
        data["seconds"],
        dict(data["latency"]),
        Rate(**data["total"]),
        {name: Rate(**each) for name, each in data["classes"].items()},
    )


def _labelled(look: Look, names: list[str]) -> list[LabelledBox]:
    return [
        LabelledBox(
            each.id, each.box, names.index(look.classes.name_of(each.class_id)), each.confidence
        )
        for each in look.detections
    ]


def _latency_bin(seconds: float) -> str:
    # Text, as JSON's keys are.
    ratio = max(seconds / _SHORTEST_SECONDS, 1.0)
    return str(int(math.log(ratio) / math.log(_GROWTH)))

"""Simulated reviewers: they know the truth and make people's mistakes, seeded.

For demos, load and tests: they hand in the same answers through the same use cases as the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loop.agreement import AgreementSettings, LabelledBox, compare
from loop.boxes import Box, FloatArray
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.events import Actor, new_id
from loop.intake import TrueBox
from loop.predictions import Detection, Prediction
from loop.review import FirstAnswer, SecondAnswer

# A detection this close to the truth is accepted as it is rather than redrawn.
_GOOD_ENOUGH_CIOU = 0.7


@dataclass(frozen=True, slots=True)
class Mistakes:
    """How often, as probabilities a box, a person errs. ``shift`` is by up to a third of a side.

    ``overlook`` leaves a false detection standing; ``jitter_px`` is the spread of a drawn edge.
    """

    miss: float = 0.05
    shift: float = 0.05
    mislabel: float = 0.04
    overlook: float = 0.05
    jitter_px: float = 0.5


FIRST_REVIEWER = Mistakes()
# Settles with more time and care than the first.
SECOND_REVIEWER = Mistakes(miss=0.01, shift=0.01, mislabel=0.01, overlook=0.01, jitter_px=0.3)
# Hasty labels, as a pilot study leaves them: what the demo's first model is trained on.
CARELESS = Mistakes(miss=0.25, shift=0.3, mislabel=0.2, overlook=0.1, jitter_px=1.5)


class SimulatedReviewer:
    """A person with a pseudonym and a seed. ``width`` and ``height`` are the image's pixels."""

    def __init__(
        self, actor: Actor, classes: ClassList, *, seed: int, mistakes: Mistakes = FIRST_REVIEWER
    ) -> None:
        self.actor = actor
        self._classes = classes
        self._mistakes = mistakes
        self._rng = np.random.default_rng(seed)

    def first_answer(
        self, prediction: Prediction, truth: Sequence[TrueBox], width: int, height: int
    ) -> FirstAnswer:
        """Accept, move, relabel, reject and add, as this person sees it."""
        partner = _partners(prediction, truth)
        boxes: list[FinalBox] = []
        rejected: list[str] = []
        for detection in prediction.detections:
            true = partner.get(detection.id)
            if true is not None:
                boxes.append(self._answer(detection, truth[true], width, height))
            elif self._errs(self._mistakes.overlook):
                boxes.append(_as_is(detection))
            else:
                rejected.append(detection.id)
        taken = set(partner.values())
        for index, true_box in enumerate(truth):
            if index not in taken and not self.misses():
                seen = self.label(true_box, width, height)
                boxes.append(FinalBox(new_id(), seen.box, seen.class_id, Origin.ADDED))
        return FirstAnswer(
            boxes=tuple(boxes),
            rejected=tuple(rejected),
            no_finding=not boxes,
            active_seconds=self._seconds(len(boxes) + len(rejected)),
        )

    def second_answer(
        self,
        prediction: Prediction,
        first: Sequence[FinalBox],
        truth: Sequence[TrueBox],
        width: int,
        height: int,
    ) -> SecondAnswer:
        """Draw blind; then take over from the first answer what is right, and redraw the rest."""
        blind = tuple(
            FinalBox(new_id(), seen.box, seen.class_id, Origin.ADDED)
            for seen in (self.label(true, width, height) for true in truth if not self.misses())
        )
        result = compare(
            [LabelledBox(b.id, b.box, b.class_id) for b in first],
            [LabelledBox(b.id, b.box, b.class_id) for b in blind],
            AgreementSettings(),
        )
        by_id = {box.id: box for box in (*first, *blind)}
        detections = {detection.id: detection for detection in prediction.detections}
        kept_for = {match.right_id: match for match in result.matches}
        final: list[FinalBox] = []
        for drawn in blind:
            match = kept_for.get(drawn.id)
            if match is None:
                final.append(drawn)
            elif match.same_class and match.ciou >= _GOOD_ENOUGH_CIOU:
                final.append(by_id[match.left_id])
            else:
                final.append(_redrawn(by_id[match.left_id], drawn, detections))
        return SecondAnswer(
            blind=blind,
            final=tuple(final),
            reason="differences_settled",
            active_seconds=self._seconds(len(final)),
        )

    def misses(self) -> bool:
        """Whether this person does not see the next box at all."""
        return self._errs(self._mistakes.miss)

    def label(self, true: TrueBox, width: int, height: int) -> TrueBox:
        """One true box as this person would mark it."""
        class_id = true.class_id
        if self._errs(self._mistakes.mislabel):
            others = [other for other in range(len(self._classes)) if other != class_id]
            class_id = int(self._rng.choice(others)) if others else class_id
        edges = np.array(true.box.xyxy) + self._rng.normal(0, self._mistakes.jitter_px, 4)
        if self._errs(self._mistakes.shift):
            edges += self._offset(true.box)
        return TrueBox(_drawn(edges, true.box, width, height), class_id)

    def _answer(self, detection: Detection, true: TrueBox, width: int, height: int) -> FinalBox:
        seen = self.label(true, width, height)
        box = detection.box
        if _ciou(box, true.box) < _GOOD_ENOUGH_CIOU:
            box = seen.box
        elif self._errs(self._mistakes.shift):
            box = _drawn(np.array(box.xyxy) + self._offset(box), box, width, height)
        return FinalBox.from_detection(new_id(), box, seen.class_id, detection)

    def _offset(self, box: Box) -> FloatArray:
        """How far a shift moves each edge of ``box``, in pixels: shape (4,)."""
        sides = np.array([box.width, box.height])
        return np.tile(self._rng.uniform(-1 / 3, 1 / 3, 2) * sides, 2)

    def _errs(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def _seconds(self, boxes: int) -> float:
        return round(float(2 + self._rng.gamma(2, 1.5, max(boxes, 1)).sum()), 1)


def _partners(prediction: Prediction, truth: Sequence[TrueBox]) -> dict[str, int]:
    """Detection id to index of the true box it found, where CIoU says that it found one."""
    result = compare(
        [LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in prediction.detections],
        [LabelledBox(str(index), true.box, true.class_id) for index, true in enumerate(truth)],
        AgreementSettings(),
    )
    found = (match for match in result.matches if match.ciou > 0)
    return {match.left_id: int(match.right_id) for match in found}


def _as_is(detection: Detection) -> FinalBox:
    return FinalBox.from_detection(new_id(), detection.box, detection.class_id, detection)


def _redrawn(before: FinalBox, drawn: FinalBox, detections: dict[str, Detection]) -> FinalBox:
    if before.detection_id is None:
        return drawn
    detection = detections[before.detection_id]
    return FinalBox.from_detection(drawn.id, drawn.box, drawn.class_id, detection)


def _drawn(edges: FloatArray, intended: Box, width: int, height: int) -> Box:
    """The drawn box inside the image; ``intended`` itself if less than a pixel was drawn."""
    if edges[2] - edges[0] < 1 or edges[3] - edges[1] < 1:
        return intended
    return Box.of(edges.tolist()).clipped(width, height) or intended


def _ciou(left: Box, right: Box) -> float:
    result = compare(
        [LabelledBox("left", left, 0)], [LabelledBox("right", right, 0)], AgreementSettings()
    )
    return result.matches[0].ciou if result.matches else -1.0

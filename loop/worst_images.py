"""The images on which a detector is most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loop.agreement import LabelledBox
from loop.confusion import CONFIDENCE, IOU, Pairing, pair_up


@dataclass(frozen=True, slots=True)
class WrongImage:
    """``place`` is that of the image in the lists; ``score`` see `worst_images`."""

    place: int
    score: float
    pairing: Pairing


def worst_images(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    most: int,
    confidence: float = CONFIDENCE,
    iou: float = IOU,
) -> list[WrongImage]:
    """At most so many images with errors, the worst first, of equals the one that comes first.

    The score of an image: 1 for each missed box, and its confidence for each false detection, so
    that one which the model is sure of weighs most. A box found as another class is both.
    """
    wrong = []
    for place, (true_boxes, found_boxes) in enumerate(zip(truth, detected, strict=True)):
        pairing = pair_up(true_boxes, found_boxes, confidence, iou)
        taken_for_another = [detection for _, detection in pairing.confused]
        score = float(len(pairing.missed) + len(pairing.confused)) + sum(
            found_boxes[place].confidence for place in (*pairing.false, *taken_for_another)
        )
        if score > 0:
            wrong.append(WrongImage(place, score, pairing))
    return sorted(wrong, key=lambda each: (-each.score, each.place))[:most]

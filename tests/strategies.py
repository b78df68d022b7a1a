"""Hypothesis strategies for the domain's nouns: legal values only, nasty ones among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import Correction, FinalBox, Origin
from loop.events import Actor, Event, Outcome, Role
from loop.intake import TrueBox
from loop.predictions import Detection, ModelRef, Prediction

CLASSES = ClassList(("cell", "rod", "ring"))
CREATED_AT = "2026-01-02T03:04:05.000006Z"

# For laws over whole answers, each of which takes many draws.
few_examples = settings(max_examples=30)

sizes = st.tuples(st.integers(1, 800), st.integers(1, 800))
class_ids = st.integers(0, len(CLASSES) - 1)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
model_refs = st.builds(
    ModelRef, st.sampled_from(("detector", "other")), st.integers(1, 99).map(str), digests
)


def _ordered(edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = edges
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _has_area(edges: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = edges
    return (x2 - x1) * (y2 - y1) > 0


def boxes(width: int, height: int) -> st.SearchStrategy[Box]:
    """Any legal box inside the image, slivers of less than a thousandth of a pixel included."""

    x, y = st.floats(0, width), st.floats(0, height)
    return st.tuples(x, y, x, y).map(_ordered).filter(_has_area).map(Box.of)


@st.composite
def ordinary_boxes(draw: st.DrawFn, smallest_px: float = 1.0, largest_px: float = 400.0) -> Box:
    """Boxes with sides as real objects have them: rounding does not drown what is measured."""
    x, y = draw(st.floats(-500, 500)), draw(st.floats(-500, 500))
    width, height = (draw(st.floats(smallest_px, largest_px)) for _ in range(2))
    return Box(x, y, x + width, y + height)


@st.composite
def detections(draw: st.DrawFn, width: int, height: int, most: int = 3) -> tuple[Detection, ...]:
    """Detections with unique ids; some lie exactly on top of another one."""
    found: list[Detection] = []
    for number in range(draw(st.integers(0, most))):
        inside = boxes(width, height)
        box = draw(st.one_of(inside, st.sampled_from([d.box for d in found])) if found else inside)
        found.append(Detection(f"d{number}", box, draw(class_ids), draw(st.floats(0, 1))))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """A prediction, with the size in pixels of the image that it is about."""

    prediction: Prediction
    width: int
    height: int


@st.composite
def predictions(draw: st.DrawFn, most: int = 3) -> Seen:
    width, height = draw(sizes)
    found = draw(detections(width, height, most))
    return Seen(Prediction("p", draw(digests), draw(model_refs), found, CREATED_AT), width, height)


@dataclass(frozen=True, slots=True)
class Answered:
    seen: Seen
    correction: Correction


def correction(
    prediction: Prediction,
    final: tuple[FinalBox, ...],
    rejected: tuple[str, ...] = (),
    **other: Any,
) -> Correction:
    """An answer to ``prediction`` with these boxes."""
    values: dict[str, Any] = {
        "id": "c",
        "case_id": "case",
        "prediction_id": prediction.id,
        "reviewer": "ana",
        "boxes": final,
        "rejected": rejected,
        "no_finding": not final,
        "comment": "",
        "active_seconds": 1.5,
        "created_at": CREATED_AT,
    }
    return Correction(**{**values, **other})


@st.composite
def answers(draw: st.DrawFn, most: int = 3) -> Answered:
    """A prediction and a true answer to it: detections kept, changed, rejected; boxes added."""
    seen = draw(predictions(most))
    inside = boxes(seen.width, seen.height)
    final: list[FinalBox] = []
    rejected: list[str] = []
    for detection in seen.prediction.detections:
        if draw(st.booleans()):
            box = draw(st.one_of(st.just(detection.box), inside))
            class_id = draw(st.one_of(st.just(detection.class_id), class_ids))
            final.append(FinalBox.from_detection(f"b-{detection.id}", box, class_id, detection))
        else:
            rejected.append(detection.id)
    added = draw(st.lists(st.tuples(inside, class_ids), max_size=3))
    final += [FinalBox(f"a{n}", box, kind, Origin.ADDED) for n, (box, kind) in enumerate(added)]
    answer = correction(seen.prediction, tuple(draw(st.permutations(final))), tuple(rejected))
    return Answered(seen, answer)


def true_boxes(width: int, height: int, most: int = 3) -> st.SearchStrategy[list[TrueBox]]:
    return st.lists(st.builds(TrueBox, boxes(width, height), class_ids), max_size=most)


# What RFC 8785 can carry: finite numbers, integers as exact as a double, text without surrogates.
_texts = st.text(st.characters(codec="utf-8"), max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(_texts, json_values, max_size=4)
actors = st.builds(Actor, _texts.filter(bool), st.sampled_from(Role))
events = st.builds(
    Event,
    type=st.sampled_from(("correction.submitted", "image.queued")),
    actor=actors,
    subject=json_objects,
    details=json_objects,
    outcome=st.sampled_from(Outcome),
    reason=_texts,
    cause=st.none() | _texts,
    request_id=_texts,
    started=st.just("") | _texts,
    inputs=st.dictionaries(_texts, digests, max_size=2),
    outputs=st.dictionaries(_texts, digests, max_size=2),
    decision=_texts,
    run_id=st.none() | _texts,
    fold=st.none() | st.integers(0, 20),
)

not_finite = st.sampled_from((math.nan, math.inf, -math.inf))

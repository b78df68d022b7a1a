"""Three layers of boxes side by side: which mean the same thing, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType

from loop.agreement import AgreementSettings, LabelledBox, Match, compare
from loop.boxes import as_array, ciou_matrix
from loop.classes import ClassList
from loop.errors import LoopError
from loop.settling import Layers


class Difference(StrEnum):
    ONLY_MODEL = "only_model"
    ONLY_FIRST = "only_first"
    ONLY_SECOND = "only_second"
    MISSING_IN_MODEL = "missing_in_model"
    MISSING_IN_FIRST = "missing_in_first"
    MISSING_IN_SECOND = "missing_in_second"
    MOVED = "moved"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class Group:
    """Boxes that mean the same thing, at most one of each layer: ``model``, ``first`` and
    ``second`` are their ids. They ``agree`` if each layer has one, in one place and of one class.
    ``text`` says for people how they differ."""

    id: str
    model: str | None
    first: str | None
    second: str | None
    agree: bool
    differences: tuple[Difference, ...]
    text: str


_LAYERS = ("model", "first", "second")
_TEXTS: Mapping[Difference, str] = MappingProxyType(
    {
        Difference.ONLY_MODEL: "Only the model has this box.",
        Difference.ONLY_FIRST: "Only the first reviewer has this box.",
        Difference.ONLY_SECOND: "Only you have this box.",
        Difference.MISSING_IN_MODEL: "The model does not have this box; both people do.",
        Difference.MISSING_IN_FIRST: "The first reviewer does not have this box.",
        Difference.MISSING_IN_SECOND: "You did not draw this box.",
        Difference.MOVED: "The edges differ.",
    }
)


@dataclass(eq=False)
class _Cluster:
    boxes: dict[str, LabelledBox] = field(default_factory=dict)  # by layer


def groups_of(layers: Layers, settings: AgreementSettings, classes: ClassList) -> tuple[Group, ...]:
    """Every box of the three layers is in exactly one group.

    Each two layers are matched as in `loop.agreement`, and what matches is joined, best CIoU
    first, unless a group would get two boxes of one layer. Groups that differ come first.
    """
    sides = _sides(layers)
    # Keyed by layer and id: an id is unique in its layer only.
    clusters = {
        (layer, box.id): _Cluster({layer: box}) for layer in _LAYERS for box in sides[layer]
    }
    for left, right, match in _matches(sides, settings):
        one, other = clusters[left, match.left_id], clusters[right, match.right_id]
        if not one.boxes.keys() & other.boxes.keys():
            one.boxes.update(other.boxes)
            for layer, box in other.boxes.items():
                clusters[layer, box.id] = one
    groups = []
    for number, cluster in enumerate(dict.fromkeys(clusters.values())):
        boxes = {layer: cluster.boxes[layer] for layer in _LAYERS if layer in cluster.boxes}
        groups.append(_group(f"g{number}", boxes, settings, classes))
    return tuple(sorted(groups, key=lambda group: group.agree))


def _sides(layers: Layers) -> dict[str, list[LabelledBox]]:
    return {
        "model": [LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in layers.model],
        "first": [LabelledBox(b.id, b.box, b.class_id) for b in layers.first],
        "second": [LabelledBox(b.id, b.box, b.class_id) for b in layers.second],
    }


def _matches(
    sides: Mapping[str, Sequence[LabelledBox]], settings: AgreementSettings
) -> list[tuple[str, str, Match]]:
    """With the names of the two layers, best first."""
    found = []
    for left, right in combinations(_LAYERS, 2):
        try:
            matches = compare(sides[left], sides[right], settings).matches
        except (LoopError, ArithmeticError, ValueError):
            continue  # what cannot be compared stands apart, for a person to look at
        found += [(left, right, match) for match in matches]
    return sorted(found, key=lambda each: (-each[2].ciou, not each[2].same_class))


def _group(
    id: str,
    boxes: Mapping[str, LabelledBox],
    settings: AgreementSettings,
    classes: ClassList,
) -> Group:
    differences = tuple(_differences(boxes, settings))
    ids = {layer: boxes[layer].id if layer in boxes else None for layer in _LAYERS}
    return Group(
        id=id,
        model=ids["model"],
        first=ids["first"],
        second=ids["second"],
        agree=not differences,
        differences=differences,
        text=_text(boxes, differences, classes),
    )


def _differences(boxes: Mapping[str, LabelledBox], settings: AgreementSettings) -> list[Difference]:
    if len(boxes) == 1:
        (layer,) = boxes
        return [Difference(f"only_{layer}")]
    found = [Difference(f"missing_in_{layer}") for layer in _LAYERS if layer not in boxes]
    # Each with each: two of a group may not even overlap, where both overlap the third.
    edges = as_array([box.box for box in boxes.values()])
    if not (ciou_matrix(edges, edges) >= settings.agreement_ciou).all():
        found.append(Difference.MOVED)
    if len({box.class_id for box in boxes.values()}) > 1:
        found.append(Difference.CLASS)
    return found


def _text(
    boxes: Mapping[str, LabelledBox], differences: Sequence[Difference], classes: ClassList
) -> str:
    if not differences:
        return "All three agree."
    names = {"model": "model", "first": "first reviewer", "second": "you"}
    known = dict(enumerate(classes))
    said = ", ".join(
        f"{names[layer]}: {known.get(box.class_id, box.class_id)}" for layer, box in boxes.items()
    )
    parts = [_TEXTS.get(each, f"The class differs ({said}).") for each in differences]
    return " ".join(parts)

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.grouping import Difference, Group, groups_of
from loop.predictions import Detection
from loop.settling import Layers
from tests.strategies import CLASSES, boxes, class_ids, few_examples

SETTINGS = AgreementSettings()
HERE = Box(0, 0, 20, 20)
NEARBY, FAR = Box(1, 0, 20, 20), Box(50, 50, 60, 60)


def model(box: Box = HERE, class_id: int = 0, id: str = "m") -> Detection:
    return Detection(id, box, class_id, 0.9)


def drawn(box: Box = HERE, class_id: int = 0, id: str = "f") -> FinalBox:
    return FinalBox(id, box, class_id, Origin.ADDED)


def grouped(layers: Layers) -> tuple[Group, ...]:
    return groups_of(layers, SETTINGS, CLASSES)


def test_three_boxes_in_one_place_are_one_group_that_agrees() -> None:
    (group,) = grouped(Layers((model(),), (drawn(NEARBY),), (drawn(id="s"),)))
    assert (group.model, group.first, group.second) == ("m", "f", "s")
    assert group.agree
    assert group.differences == ()
    assert group.text == "All three agree."


def test_each_way_to_differ_has_its_code_and_its_words() -> None:
    one, other = drawn(), drawn(id="s")
    cases = {
        (Difference.ONLY_MODEL,): Layers((model(),), (), ()),
        (Difference.ONLY_FIRST,): Layers((), (one,), ()),
        (Difference.ONLY_SECOND,): Layers((), (), (other,)),
        (Difference.MISSING_IN_MODEL,): Layers((), (one,), (other,)),
        (Difference.MISSING_IN_FIRST,): Layers((model(),), (), (other,)),
        (Difference.MISSING_IN_SECOND,): Layers((model(),), (one,), ()),
        (Difference.MOVED,): Layers((model(Box(0, 0, 20, 8)),), (one,), (other,)),
        (Difference.CLASS,): Layers((model(class_id=1),), (one,), (other,)),
        (Difference.MISSING_IN_MODEL, Difference.CLASS): Layers(
            (), (one,), (replace(other, class_id=2),)
        ),
    }
    texts = set()
    for differences, layers in cases.items():
        (group,) = grouped(layers)
        assert group.differences == differences
        assert not group.agree
        texts.add(group.text)
    assert len(texts) == len(cases)
    (group,) = grouped(cases[Difference.CLASS,])
    assert group.text == "The class differs (model: rod, first reviewer: cell, you: cell)."


def test_what_lies_elsewhere_is_another_group_and_differences_come_first() -> None:
    agreeing, other = grouped(Layers((model(),), (drawn(),), (drawn(id="s"), drawn(FAR, id="s2"))))[
        ::-1
    ]
    assert agreeing.agree
    assert (other.model, other.first, other.second) == (None, None, "s2")


def test_the_better_partner_is_taken() -> None:
    groups = grouped(
        Layers((), (drawn(), drawn(Box(0, 0, 20, 12), id="f2")), (drawn(NEARBY, id="s"),))
    )
    assert {(group.first, group.second) for group in groups} == {("f", "s"), ("f2", None)}


def test_a_box_with_the_id_of_its_detection_is_still_another_box() -> None:
    (group,) = grouped(Layers((model(id="x"),), (drawn(id="x"),), ()))
    assert (group.model, group.first, group.second) == ("x", "x", None)


@st.composite
def layers(draw: st.DrawFn) -> Layers:
    def side(name: str) -> list[tuple[str, Box, int]]:
        found = draw(st.lists(st.tuples(boxes(60, 60), class_ids), max_size=5))
        return [(f"{name}{n}", box, kind) for n, (box, kind) in enumerate(found)]

    return Layers(
        tuple(Detection(id, box, kind, 0.5) for id, box, kind in side("m")),
        tuple(FinalBox(id, box, kind, Origin.ADDED) for id, box, kind in side("f")),
        tuple(FinalBox(id, box, kind, Origin.ADDED) for id, box, kind in side("s")),
    )


@few_examples
@given(layers())
def test_every_box_is_in_exactly_one_group(found: Layers) -> None:
    groups = grouped(found)
    for name, side in (("model", found.model), ("first", found.first), ("second", found.second)):
        ids = [getattr(group, name) for group in groups if getattr(group, name)]
        assert Counter(ids) == Counter(each.id for each in side)
    assert len({group.id for group in groups}) == len(groups)
    for group in groups:
        complete = None not in (group.model, group.first, group.second)
        assert group.agree == (not group.differences)
        assert complete or not group.agree
        assert group.text

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.errors import BrokenRecord, NotEnoughData
from loop.events import Actor, Role
from loop.gold import (
    GoldDetections,
    detections_path,
    differences,
    found_boxes,
    read_gold,
)
from loop.intake import NewImage, TrueBox, add_truth
from loop.predictions import ModelRef
from tests.fakes import FakeDatabase, FakeImageStore
from tests.strategies import CLASSES, class_ids, model_refs

ENGINEER = Actor("engineer-1", Role.ENGINEER)
GOLD = "d" * 64
MODEL = ModelRef("detector", "1", "a" * 64)

edges = st.floats(0, 500, allow_nan=False)
boxes = st.builds(
    lambda x, y, w, h, c, conf: LabelledBox("", Box(x, y, x + w, y + h), c, conf),
    edges,
    edges,
    st.floats(1, 200),
    st.floats(1, 200),
    class_ids,
    st.floats(0, 1),
)
images = st.lists(st.tuples(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4)), max_size=4)


def seen(model: object, *images: tuple[list[LabelledBox], list[LabelledBox]]) -> GoldDetections:
    return GoldDetections(
        model,  # type: ignore[arg-type]
        GOLD,
        CLASSES,
        tuple(f"{number:064x}" for number in range(len(images))),
        tuple(tuple(truth) for truth, _ in images),
        tuple(tuple(detected) for _, detected in images),
    )


def box(place: int, confidence: float = 1.0, class_id: int = 0, shift: float = 0) -> LabelledBox:
    """One of a row of boxes that do not touch, 20 pixels wide."""
    x = 100 * place + shift
    return LabelledBox(f"b{place}", Box(x, 0, x + 20, 20), class_id, confidence)


@given(model_refs, images)
def test_what_was_seen_comes_back_from_its_record(model: object, images: list[object]) -> None:
    before = seen(model, *images)  # type: ignore[arg-type]
    data = before.to_json()
    after = GoldDetections.from_json(data)
    assert after.to_json() == data
    assert (after.model, after.gold_sha256, after.classes) == (model, GOLD, CLASSES)
    assert after.image_ids == before.image_ids
    for kept, given_ in zip(after.detected, before.detected, strict=True):
        assert [(b.box, b.class_id, b.confidence) for b in kept] == [
            (b.box, b.class_id, b.confidence) for b in given_
        ]


@given(model_refs)
def test_boxes_read_back_have_ids_of_their_own(model: object) -> None:
    record = seen(model, ([box(0), box(1)], [box(0, 0.5)])).to_json()
    after = GoldDetections.from_json(record)
    assert [b.id for b in after.truth[0]] == ["t0", "t1"]
    assert [b.id for b in after.detected[0]] == ["d0"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        json.dumps({"schema": 1}).encode(),
        json.dumps(
            {
                "schema": 1,
                "model": {"name": "m", "version": "1", "digest": "a" * 64},
                "gold_sha256": GOLD,
                "classes": ["cell"],
                "images": [{"id": "i", "truth": [{"box": [1, 1, 0, 0]}], "detections": []}],
            }
        ).encode(),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenRecord, match="Not a record"):
        GoldDetections.from_json(data)


@given(model_refs)
def test_a_record_of_a_later_schema_is_refused(model: object) -> None:
    raw = json.loads(seen(model).to_json()) | {"schema": 3}
    with pytest.raises(BrokenRecord, match="schema 3"):
        GoldDetections.from_json(json.dumps(raw))


def test_a_record_without_groups_takes_each_image_by_itself() -> None:
    before = seen(MODEL, ([box(0)], [box(0)]), ([box(0)], []))
    raw = json.loads(before.to_json()) | {"schema": 1}
    del raw["groups"]
    again = GoldDetections.from_json(json.dumps(raw))
    assert (again.groups, again.grouping) == ((), (0, 1))


def test_groups_come_back_from_the_record_and_belong_to_its_digest() -> None:
    alone = seen(MODEL, ([box(0)], []), ([box(0)], []))
    together = replace(alone, groups=(0, 0))
    assert GoldDetections.from_json(together.to_json()).grouping == (0, 0)
    assert together.sha256 != alone.sha256


def test_a_record_lies_below_the_gold_set_s_digest() -> None:
    assert detections_path(GOLD, "7") == "gold/dddddddddddd/detections-7.json"


def test_a_box_is_found_by_a_sure_detection_of_its_class_that_overlaps_it_by_half() -> None:
    truth = [box(0), box(1), box(2), box(3)]
    detected = [
        box(0, 0.9, shift=5),  # IoU 0.6
        box(1, 0.9, shift=10),  # IoU 1/3
        box(2, 0.9, class_id=1),
        box(3, 0.2),
    ]
    assert found_boxes(truth, detected, 0.25) == {0: 0}


def test_one_detection_finds_one_box_the_surest_first() -> None:
    truth = [box(0)]
    assert found_boxes(truth, [box(0, 0.5), box(0, 0.9, shift=1)], 0.25) == {0: 1}


@given(model_refs, images)
def test_a_model_does_not_differ_from_itself(model: object, images: list[object]) -> None:
    one = seen(model, *images)  # type: ignore[arg-type]
    assert differences(one, one, 0.25) == []


@given(model_refs)
def test_lost_and_gained_boxes_and_false_ones_are_told_apart(model: object) -> None:
    truth = [box(0), box(1), box(2)]
    before = seen(model, (truth, [box(0, 0.9), box(1, 0.9), box(8, 0.9), box(9, 0.1)]))
    after = seen(model, (truth, [box(0, 0.9), box(2, 0.9)]))
    (found,) = differences(before, after, 0.25)
    assert (found.lost, found.gained) == ((1,), (2,))
    assert (found.false_before, found.false_after) == (1, 0)


@given(model_refs)
def test_the_worst_comes_first(model: object) -> None:
    two = [box(0), box(1)]
    before = seen(
        model,
        (two, [box(0)]),
        (two, [box(0)]),
        (two, [box(0), box(1)]),
        (two, []),
        (two, [box(0), box(1)]),
    )
    after = seen(
        model,
        (two, [box(0), box(1)]),  # gains one
        (two, [box(0), box(7)]),  # a new false one
        (two, []),  # loses two
        (two, []),
        (two, [box(1)]),  # loses one
    )
    assert [each.place for each in differences(before, after, 0.25)] == [2, 4, 1, 0]


@given(model_refs)
def test_models_on_different_gold_sets_are_not_compared(model: object) -> None:
    one = seen(model, ([box(0)], []))
    with pytest.raises(ValueError, match="two different gold sets"):
        differences(one, replace(one, gold_sha256="e" * 64), 0.25)


def test_the_gold_set_is_read_with_its_truth_and_named_by_it() -> None:
    database, images = FakeDatabase(CLASSES), FakeImageStore()

    def add(number: int, gold: bool) -> str:
        new = NewImage(f"image {number}".encode(), "image/png", 64, 64, f"s{number}", "test")
        truth = [TrueBox(Box(1, 2, 9, 10), 0)]
        add_truth(database.units, images, new, truth, actor=ENGINEER, gold=gold)
        return images.put(new.data)

    with database.units() as uow:
        assert read_gold(uow).image_ids == ()
    first = add(1, gold=True)
    add(2, gold=False)
    with database.units() as uow:
        one = read_gold(uow)
    assert one.image_ids == (first,)
    assert [[b.box for b in truth] for truth in one.truth] == [[Box(1, 2, 9, 10)]]
    add(3, gold=True)
    with database.units() as uow:
        assert read_gold(uow).sha256 != one.sha256


def test_a_gold_image_without_an_annotation_is_pointed_out() -> None:
    database, images = FakeDatabase(CLASSES), FakeImageStore()
    new = NewImage(b"image", "image/png", 64, 64, "s", "test")
    add_truth(database.units, images, new, [], actor=ENGINEER, gold=True)
    database.tables.annotations.clear()
    with database.units() as uow, pytest.raises(NotEnoughData, match="no annotation"):
        read_gold(uow)

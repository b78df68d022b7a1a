from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.looks import Boxes, FirstLook, SecondLook, Shown
from loop.oversight import bias, f1, oversee, partners, same, week
from loop.progress import Verdicts

A, B, C = (LabelledBox(n, Box(x, 0, x + 10, 10), 0) for n, x in (("a", 0), ("b", 20), ("c", 40)))
OTHER_CLASS = replace(A, class_id=1)


def first(number: int, reviewer: str = "ana", day: int = 5, **verdicts: int) -> FirstLook:
    return FirstLook(
        case_id=f"k{number}",
        reviewer=reviewer,
        at=f"2026-01-{day:02d}T00:00:00.000000Z",
        active_seconds=float(number),
        model="detector:1",
        detections=(A,),
        boxes=(A,),
        verdicts=Verdicts(**(verdicts or {"accepted": 1})),
        sent_on=("moved",) if "moved" in verdicts else (),
    )


def second(seen: Boxes, first: Boxes, blind: Boxes, final: Boxes) -> SecondLook:
    return SecondLook("k", "ben", "2026-01-05", 5.0, seen, first, blind, final)


boxes = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 1)).map(
        lambda p: LabelledBox("x", Box(p[0] * 7, 0, p[0] * 7 + 10, 10), p[1])
    ),
    max_size=5,
).map(tuple)


@given(boxes, boxes)
def test_boxes_are_matched_one_to_one_and_either_way_round(left: Boxes, right: Boxes) -> None:
    pairs = partners(left, right)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert f1(left, right) == f1(right, left)
    assert 0 <= f1(left, right) <= 1
    assert same(left, left)
    assert f1(left, left) == 1


def test_a_box_is_another_one_with_another_class_or_elsewhere() -> None:
    assert same((A, B), (B, A))
    assert not same((A,), (OTHER_CLASS,))
    assert not same((A,), (A, A))
    assert partners((A,), (B, C)) == []


def test_who_saw_the_model_kept_what_is_wrong_and_missed_what_it_missed() -> None:
    # The model says A, which is wrong, and misses B; who saw it agrees, who did not finds B.
    found = bias([second((A,), (A,), (B,), (B,))] * 12)
    assert (found.kept_seen.value, found.kept_blind.value) == (1.0, 0.0)
    assert (found.missed_seen.value, found.missed_blind.value) == (1.0, 0.0)
    assert (found.closer.value, found.drawn.value) == (1.0, 0.0)
    assert found.images == 12


def test_who_was_not_led_errs_as_the_blind_do() -> None:
    found = bias([second((A,), (B,), (B,), (B,))] * 12)
    assert found.kept_seen == found.kept_blind
    assert found.missed_seen == found.missed_blind
    assert found.closer.value == 0


def test_a_blind_reader_who_gives_way_to_the_model_is_seen() -> None:
    found = bias([second((A,), (B,), (B,), (A,))] * 12)
    assert found.drawn.value == 1.0


def test_work_is_told_by_person_week_model_and_pick() -> None:
    looks = [first(n) for n in range(10)]
    looks += [first(10 + n, "cleo", 12, rejected=1, moved=1) for n in range(10)]
    picked = {f"k{n}": "random" if n % 2 else "order" for n in range(20)}
    found = oversee(looks, [], [Shown("first", "order", 10)], picked)
    assert [each.name for each in found.reviewers] == ["ana", "cleo"]
    ana, cleo = found.reviewers
    assert (ana.overridden.value, cleo.overridden.value) == (0.0, 1.0)
    assert (ana.first_seconds.median, cleo.first_seconds.median) == (4.5, 14.5)
    assert found.total.overridden.count == 20
    assert found.total.overridden.total == 30
    assert [each.name for each in found.weeks] == ["2026-W02", "2026-W03"]
    assert [each.name for each in found.models] == ["detector:1"]
    assert {each.name: each.changed.total for each in found.by_pick} == {"order": 10, "random": 10}
    assert (found.sent_on.count, found.sent_on.total) == (10, 20)
    assert found.sent_for == {"moved": 10}


def test_a_case_of_which_it_is_not_known_how_it_came_is_left_out_of_that_alone() -> None:
    found = oversee([first(1), first(2)], [], [], {"k1": "order"})
    assert found.by_pick[0].changed.total == 1
    assert found.total.changed.total == 2


def test_an_added_box_is_an_answer_that_differs() -> None:
    assert not first(1).overrode
    assert first(1, accepted=1, added=1).overrode
    assert first(1, relabelled=1).overrode


def test_how_often_the_first_answer_and_the_blind_one_were_changed() -> None:
    kept, changed = second((A,), (A,), (A,), (A,)), second((A,), (A,), (B,), (C,))
    found = oversee([], [kept] * 9 + [changed] * 3, [], {})
    assert (found.changed_first.count, found.changed_blind.count) == (3, 3)
    assert [each.name for each in found.reviewers] == ["ben"]


def test_counts_of_few_are_not_told() -> None:
    said = oversee([first(1), first(2)], [], [], {}).as_dict()["reviewers"][0]
    assert said["detections"] == 2
    assert said["accepted"] is said["rejected"] is None
    assert said["overridden"]["value"] is None


def test_nothing_is_nothing() -> None:
    said = oversee([], [], [], {}).as_dict()
    assert said["reviewers"] == said["weeks"] == []
    assert said["automation_bias"]["images"] == 0


@pytest.mark.parametrize(
    ("at", "name"),
    [("2026-01-01T00:00:00.000000Z", "2026-W01"), ("2027-01-01T00:00:00.000000Z", "2026-W53")],
)
def test_weeks_are_those_of_iso_8601(at: str, name: str) -> None:
    assert week(at) == name

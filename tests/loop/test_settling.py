from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loop.boxes import Box
from loop.corrections import Dropped, FinalBox, How, Lineage, Origin
from loop.errors import InvalidAnswer
from loop.predictions import Detection
from loop.settling import SETTLE_REASONS, Layers, SettledAnswer, check_settled

HERE, THERE, ELSEWHERE = Box(0, 0, 10, 10), Box(0, 0, 11, 10), Box(50, 50, 60, 60)
LAYERS = Layers(
    model=(Detection("m", HERE, 0, 0.9),),
    first=(FinalBox("f", THERE, 1, Origin.ADDED),),
    second=(FinalBox("s", ELSEWHERE, 2, Origin.ADDED),),
)


def final(
    box: Box, class_id: int, *sources: str, how: How = How.PICKED, reason: str = "agreed"
) -> FinalBox:
    lineage = Lineage(sources, how, reason)
    return FinalBox(f"final {sources}", box, class_id, Origin.ADDED, None, lineage)


ANSWER = SettledAnswer(
    boxes=(final(THERE, 1, "m", "f"),),
    dropped=(Dropped(("s",), "false_positive"),),
    reason="class",
)


def test_an_answer_that_accounts_for_everything_passes() -> None:
    check_settled(ANSWER, LAYERS)
    check_settled(SettledAnswer((), "agreed"), Layers((), (), ()))


@pytest.mark.parametrize(
    "box",
    [
        final(THERE, 1, "m", "f", how=How.REDRAWN),
        final(Box(0, 0, 12, 12), 1, "m", "f", how=How.MERGED),
        final(HERE, 0, "m", "f"),
    ],
)
def test_the_ways_to_make_one_box_of_two(box: FinalBox) -> None:
    check_settled(replace(ANSWER, boxes=(box,)), LAYERS)


def test_a_box_may_be_redrawn_where_nothing_was_and_one_box_become_two() -> None:
    new = final(Box(80, 80, 90, 90), 2, how=How.REDRAWN, reason="missed")
    half = final(Box(0, 0, 5, 10), 1, "m", "f", how=How.REDRAWN)
    other = replace(half, id="other half", box=Box(5, 0, 10, 10))
    check_settled(replace(ANSWER, boxes=(new, half, other)), LAYERS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropped": ()}, "unaccounted for: s"),
        ({"boxes": ()}, "unaccounted for: f, m"),
        ({"reason": "because"}, "no reason code"),
        ({"boxes": (final(THERE, 1, "m", "f", reason="because"),)}, "no reason code"),
        ({"dropped": (Dropped(("s",), ""),)}, "no reason code"),
        ({"boxes": (final(THERE, 1, "m", "f", "x"),)}, "no box x"),
        ({"dropped": (Dropped(("s", "x"), "other"),)}, "no box x"),
        ({"boxes": (final(THERE, 1, "m", "f", "f"),)}, "named twice"),
        ({"boxes": (final(Box(0, 0, 12, 10), 1, "m", "f"),)}, "equals none"),
        ({"boxes": (final(THERE, 0, "m", "f"),)}, "equals none"),
        ({"boxes": (final(ELSEWHERE, 2, "m", "f"),)}, "equals none"),
        ({"boxes": (final(HERE, 0),)}, "equals none"),
        ({"boxes": (final(THERE, 1, "m", how=How.MERGED),)}, "fewer than two"),
        ({"boxes": (FinalBox("b", HERE, 0, Origin.ADDED),)}, "what it was made of"),
        ({"dropped": (Dropped(("s", "f"), "other"),)}, "both dropped and used"),
        ({"dropped": (Dropped(("s",), "other"), Dropped(("s",), "other"))}, "dropped twice"),
    ],
)
def test_an_answer_that_cannot_be_true_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidAnswer, match=message):
        check_settled(replace(ANSWER, **change), LAYERS)


def test_a_page_may_give_a_box_the_id_of_its_detection() -> None:
    """Then the id means both of them."""
    layers = replace(LAYERS, first=(FinalBox("m", THERE, 1, Origin.ADDED),))
    for box in (final(HERE, 0, "m"), final(THERE, 1, "m")):
        check_settled(replace(ANSWER, boxes=(box,)), layers)


def test_every_reason_is_in_words() -> None:
    assert all(SETTLE_REASONS.values())

from __future__ import annotations

import pytest

from loop.errors import Conflict
from ui.training_html import Cell, difference, heading, notice, quiet, sorry, table, when, who

NASTY = "<script>alert('1')</script>"


@pytest.mark.parametrize(
    "html",
    [
        heading(NASTY, NASTY),
        quiet(NASTY),
        notice("warn", NASTY, NASTY, lines=NASTY),
        sorry(Conflict(NASTY, hint=NASTY)),
        table([NASTY], [[NASTY], [Cell(NASTY, "", NASTY)]]),
        table([], [], empty=NASTY),
    ],
)
def test_whatever_is_put_in_stays_text(html: str) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_numbers_stand_at_the_right_and_text_at_the_left() -> None:
    html = table(["a", "b"], [["x", "1"]])
    assert '<td class="slt-left">x</td><td class="">1</td>' in html


@pytest.mark.parametrize(
    ("before", "after", "text", "tone", "title"),
    [
        (0.5, 0.625, "▲ +0.125", "slt-better", "better"),
        (0.5, 0.25, "▼ -0.250", "slt-worse", "worse"),
        (0.5, 0.5004, "0.000", "slt-same", "no change"),
        (None, 0.5, "", "", ""),
        (0.5, None, "", "", ""),
    ],
)
def test_a_difference_has_its_sign_and_a_word(
    before: float | None, after: float | None, text: str, tone: str, title: str
) -> None:
    assert difference(before, after) == Cell(text, tone, title)


def test_times_and_people_as_they_are_read() -> None:
    assert when("2026-02-03T04:05:06.000000Z") == "2026-02-03 04:05 UTC"
    assert when("") == ""
    assert who("quiet-otter", "quiet-otter") == "quiet-otter (you)"
    assert who("quiet-otter", "loud-heron") == "quiet-otter"

from __future__ import annotations

import pytest

from cluster.report_pages import Heading, Plot, Point, Table, Text, _step, as_html, as_markdown

BLOCKS = [
    Heading("A <b>"),
    Text("plain & simple"),
    Text("careful", warns=True),
    Table(["who", "n"], [("a|b", "1")]),
    Plot("by week", [Point("W1", 0.5, 0.4, 0.6), Point("W2", None, None, None)], "%", 100),
]


def test_html_is_whole_by_itself_and_text_stays_text() -> None:
    page = as_html("T <i>", BLOCKS)
    assert "<h1>T &lt;i&gt;</h1>" in page
    assert "<h2>A &lt;b&gt;</h2>" in page
    assert "plain &amp; simple" in page
    assert '<p class="note">careful</p>' in page
    assert "<td>a|b</td><td>1</td>" in page
    for outside in ("http", "<script", "<link", "src="):
        assert outside not in page


def test_a_plot_has_a_mark_for_what_is_known_and_a_word_for_what_is_not() -> None:
    page = as_html("T", BLOCKS)
    assert page.count("<circle") == 1
    assert "too few" in page
    assert 'aria-label="by week"' in page
    assert "<circle" not in as_html("T", [Plot("none", [], "s")])


def test_markdown_has_the_same_without_the_plots() -> None:
    text = as_markdown("T", BLOCKS)
    assert text.startswith("# T\n\n## A <b>\n\nplain & simple\n\n> careful\n\n")
    assert "| who | n |\n| --- | ---: |\n| a\\|b | 1 |" in text
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("highest", "step"), [(0.0, 0.2), (0.23, 0.05), (1.0, 0.2), (5.0, 1), (7.0, 2), (101.0, 50)]
)
def test_ticks_are_round_and_reach_the_highest(highest: float, step: float) -> None:
    assert _step(highest) == pytest.approx(step)

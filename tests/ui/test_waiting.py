from __future__ import annotations

from loop.cases import CaseState
from tests.ui.conftest import case, units_of
from ui.waiting import HEADERS, waiting


def test_a_case_is_shown_with_its_reasons_in_words() -> None:
    units = units_of(
        case(1, CaseState.FIRST, "new_prediction"),
        case(2, CaseState.SECOND, "moved", "something_new"),
    )
    second = waiting(units, CaseState.SECOND)
    assert second.total == 1
    assert second.heading == "1 waiting."
    assert second.rows[0][2] == "a box was moved, something new"
    assert second.rows[0][4] == "2026-02-03 04:05:06"
    assert len(second.rows[0]) == len(HEADERS)


def test_an_empty_queue_says_so() -> None:
    assert waiting(units_of(), CaseState.FIRST).heading == "Nothing is waiting."


def test_a_long_queue_says_how_much_is_shown() -> None:
    units = units_of(*(case(number, CaseState.FIRST, "new_prediction") for number in range(150)))
    first = waiting(units, CaseState.FIRST)
    assert len(first.rows) == 100
    assert first.heading == "150 waiting, the most urgent 100 are shown."

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import Reason
from loop.cases import CaseState
from loop.errors import InvalidInput
from loop.queue import REASON_TEXTS, Order, Place, Work, cursor_of, place_of

states, orders = st.sampled_from(CaseState), st.sampled_from(Order)
places = st.builds(
    Place, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**63 - 1)
)


@given(states, orders, places)
def test_a_cursor_leads_back_to_the_very_place(
    state: CaseState, order: Order, place: Place
) -> None:
    assert place_of(cursor_of(state, order, place), state, order) == place


@given(st.text())
def test_no_text_is_taken_for_a_cursor_by_mistake(text: str) -> None:
    with pytest.raises(InvalidInput):
        place_of(text, CaseState.FIRST, Order.OLDEST)


@pytest.mark.parametrize(
    "content",
    [
        ["first", "oldest", 0.0],
        ["second", "oldest", 0.0, 1],
        ["first", "random", 0.0, 1],
        ["first", "oldest", "NaN", 1],
        ["first", "oldest", 1e999, 1],
        ["first", "oldest", 0.0, -1],
        ["first", "oldest", 0.0, 2**63],
        ["first", "oldest", 0.0, 1e999],
        ["first", "oldest", None, None],
        {"first": "oldest"},
        7,
    ],
)
def test_a_cursor_of_another_list_or_with_other_content_is_refused(content: object) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    with pytest.raises(InvalidInput):
        place_of(cursor, CaseState.FIRST, Order.OLDEST)


def test_each_class_of_work_waits_in_a_state_of_its_own() -> None:
    assert {work.state for work in Work} == set(CaseState) - {CaseState.SETTLED}


def test_every_reason_is_in_words() -> None:
    assert {reason.value for reason in Reason} < set(REASON_TEXTS)

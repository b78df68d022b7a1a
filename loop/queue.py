"""The queue: which cases wait, in four orders, with filters, page by page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from loop.cases import Case, CaseState
from loop.errors import InvalidInput

# Why a case is where it is, in words: `loop.agreement.Reason`, and what queueing itself gives.
REASON_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "new_prediction": "The model has looked, nobody has yet",
        "reopened": "Settled before, and reopened",
        "moved": "The first reviewer moved a box",
        "missed": "The first reviewer added a box that the model has not",
        "class_difference": "The first reviewer changed a class",
        "high_confidence_removal": "The first reviewer removed a box the model was sure of",
        "not_computable": "The two answers could not be compared",
        "escalated": "The first reviewer asked for a second look",
    }
)
# More rows than a screen shows; fewer than would slow a page down.
MOST_ROWS = 200


class Work(StrEnum):
    """A class of work: the state that its cases wait in."""

    FIRST = "first"
    SECOND = "second"
    REOPENED = "reopened"

    @property
    def state(self) -> CaseState:
        return CaseState(self.value)


class Order(StrEnum):
    """What comes first. Where two cases are equal, the older one does."""

    UNCERTAIN = "uncertain"  # what the model is least sure of
    DISAGREED = "disagreed"  # where first answer and model are furthest apart
    OLDEST = "oldest"
    RANDOM = "random"  # an order that was drawn by lot when the case was made


@dataclass(frozen=True, slots=True)
class Filters:
    """Only cases in which ``class_id`` occurs; only those of the model ``name:version``."""

    class_id: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """For whom the queue is read: a pseudonym, the tab, and when (RFC 3339).

    What this person holds in another tab is left out, unless ``tab`` is None.
    """

    person: str
    tab: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case stands in an order: ``key`` ascending, then ``number``, its age."""

    key: float
    number: int


@dataclass(frozen=True, slots=True)
class Placed:
    case: Case
    place: Place


@dataclass(frozen=True, slots=True)
class Page:
    """``cursor`` leads to the next page; None on the last. ``total`` is how many cases of this
    state and these filters this person could get, skipped and leased ones included."""

    cases: tuple[Case, ...]
    cursor: str | None
    total: int = 0


def place_key(case: Case, order: Order) -> float:
    """The ``key`` of a `Place`: lower comes first."""
    if order is Order.UNCERTAIN:
        return -case.priority
    if order is Order.DISAGREED:
        return -case.disagreement
    return case.shuffle if order is Order.RANDOM else 0.0


def cursor_of(state: CaseState, order: Order, place: Place) -> str:
    """Opaque text that `place_of` reads back."""
    text = json.dumps([state.value, order.value, place.key, place.number])
    return base64.urlsafe_b64encode(text.encode()).decode()


def place_of(cursor: str, state: CaseState, order: Order) -> Place:
    """Raises `InvalidInput` for a cursor that is none, or of another state or order."""
    try:
        found_state, found_order, key, number = json.loads(
            base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        )
        place = Place(float(key), int(number))
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise _not_a_cursor() from error
    legal = math.isfinite(place.key) and 0 <= place.number < 2**63
    if (found_state, found_order) != (state.value, order.value) or not legal:
        raise _not_a_cursor()
    return place


def _not_a_cursor() -> InvalidInput:
    return InvalidInput(
        "This is no cursor of this list.", hint="Begin at the first page, without a cursor."
    )

"""Choosing from the queue: the next case for somebody, and pages to look through."""

from __future__ import annotations

from collections.abc import Callable

from loop.access import Permission
from loop.cases import Case, CaseState
from loop.desk_views import Picked
from loop.errors import InvalidInput
from loop.ports import UnitOfWork
from loop.queue import MOST_ROWS, Filters, Order, Page, Place, Viewer, cursor_of, place_of


def permission_for(state: CaseState) -> Permission:
    """What it takes to work on cases in ``state``, or to list them."""
    return Permission.ADJUDICATE if state is CaseState.SECOND else Permission.REVIEW


def pick(
    uow: UnitOfWork,
    state: CaseState,
    order: Order,
    filters: Filters,
    viewer: Viewer,
    *,
    after: str | None,
    random_share: float,
    rng: Callable[[], float],
) -> tuple[Case, Picked] | None:
    """The next case in ``order`` behind the case ``after``, or, for a share, one drawn by lot."""
    picked, place = Picked.ORDER, None
    if after is not None:
        place = uow.queue.place(after, order)
    if order is not Order.RANDOM and rng() < random_share:
        # Each case stands at a point of [0, 1) that was drawn by lot: the first behind another
        # such point. Dearer ways would make no choice that anybody could tell from this one.
        picked, order, place = Picked.RANDOM, Order.RANDOM, Place(rng(), 0)
    starts = [place] if place is None else [place, None]  # at the end it goes on from the start
    for start in starts:
        found = uow.queue.after(state, order, filters, viewer, place=start, limit=2)
        others = [each.case for each in found if each.case.id != after]
        if others:
            return others[0], picked
    return None


def page(
    uow: UnitOfWork,
    state: CaseState,
    order: Order,
    filters: Filters,
    viewer: Viewer,
    *,
    cursor: str | None,
    limit: int,
) -> Page:
    """Raises `InvalidInput` for a cursor or limit that is none."""
    if not 1 <= limit <= MOST_ROWS:
        raise InvalidInput(f"A page has 1 to {MOST_ROWS} rows, not {limit}.")
    place = place_of(cursor, state, order) if cursor else None
    found = uow.queue.after(state, order, filters, viewer, place=place, limit=limit + 1)
    more = len(found) > limit
    return Page(
        cases=tuple(each.case for each in found[:limit]),
        cursor=cursor_of(state, order, found[limit - 1].place) if more else None,
        total=uow.queue.count(state, filters, not_by=viewer.person),
    )

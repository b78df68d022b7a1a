"""Taking, keeping and freeing leases in a unit of work."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from loop.errors import HeldByOther, HeldElsewhere, InvalidInput, StaleLease
from loop.leases import Hold, Lease
from loop.ports import UnitOfWork

_LONGEST_TAB = 64  # characters: what the column holds


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as `loop.events.now`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def acquire(
    uow: UnitOfWork,
    case_id: str,
    *,
    holder: str,
    tab: str,
    moment: datetime,
    seconds: float,
    take_over: bool = False,
) -> Lease:
    """Hold a case that is free or ran out, with a new token; or go on holding it, with the same.

    Raises `HeldByOther`, and `HeldElsewhere` unless ``take_over``.
    """
    if not 0 < len(tab) <= _LONGEST_TAB:
        raise InvalidInput("A tab needs a name of at most 64 characters.")
    hold = uow.leases.find(case_id)
    token = 1 if hold is None else hold.token + 1
    if hold is not None and hold.expires_at > timestamp(moment):
        if hold.holder != holder:
            raise _held_by_other()
        if hold.tab == tab:
            token = hold.token
        elif not take_over:
            raise HeldElsewhere(
                "You have this case open in another tab.",
                hint="Go on there, or take it over to this one.",
            )
    return extend(uow, Hold(case_id, holder, tab, token, ""), moment, seconds)


def held(uow: UnitOfWork, case_id: str, *, holder: str, tab: str, token: int) -> Hold:
    """The lease that this token belongs to, run out or not. Raises `StaleLease`."""
    hold = uow.leases.find(case_id)
    if hold is None or (hold.holder, hold.tab, hold.token) != (holder, tab, token):
        raise StaleLease(
            "This case is no longer yours: it was freed or taken in the meantime.",
            hint="Open it again. What you had not handed in is kept as a draft.",
        )
    return hold


def extend(uow: UnitOfWork, hold: Hold, moment: datetime, seconds: float) -> Lease:
    """From ``moment`` on, for so many seconds."""
    longer = replace(hold, expires_at=timestamp(moment + timedelta(seconds=seconds)))
    uow.leases.put(longer)
    return Lease(
        longer.case_id, longer.holder, longer.tab, longer.token, longer.expires_at, seconds
    )


def free(uow: UnitOfWork, hold: Hold, moment: datetime) -> None:
    """Its row stays, so that tokens go on counting up."""
    uow.leases.put(replace(hold, holder="", tab="", expires_at=timestamp(moment)))


def refuse_if_held(uow: UnitOfWork, case_id: str, *, person: str, at: str) -> None:
    """Raise `HeldByOther` if anybody else holds the case ``at`` this time (RFC 3339)."""
    hold = uow.leases.find(case_id)
    if hold is not None and hold.expires_at > at and hold.holder != person:
        raise _held_by_other()


def _held_by_other() -> HeldByOther:
    return HeldByOther(
        "Another person is working on this case.",
        hint="Take the next one; this one is free again when they hand it in or leave it.",
    )

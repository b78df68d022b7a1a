"""What every method of the desk does: a unit of work of its own, leases by the clock, one way to
open a case."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from loop import holding, picking
from loop.access import Permission, require
from loop.agreement import AgreementSettings
from loop.cases import Case
from loop.desk_views import (
    Opened,
    Phase,
    Picked,
    ReadOnly,
    opened_event,
    phase_of,
    refusal_to_work,
    view,
)
from loop.errors import HeldByOther, HeldElsewhere
from loop.events import Actor
from loop.leases import Lease
from loop.ports import UnitOfWork, UnitsOfWork
from loop.queue import Viewer

Clock = Callable[[], datetime]  # aware
_draw = random.SystemRandom().random


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """``random_share`` of what is taken is drawn by lot, whatever the order."""

    lease_seconds: float = 300
    random_share: float = 0.1
    agreement: AgreementSettings = field(default_factory=AgreementSettings)


def utc_now() -> datetime:
    return datetime.now(UTC)


class DeskCore:
    """``clock`` decides about leases; ``rng`` draws from [0, 1)."""

    def __init__(
        self,
        units: UnitsOfWork,
        settings: DeskSettings,
        *,
        clock: Clock = utc_now,
        rng: Callable[[], float] = _draw,
    ) -> None:
        self._units = units
        self._settings = settings
        self._clock = clock
        self._rng = rng

    @contextmanager
    def _change(self, actor: Actor, permission: Permission) -> Iterator[UnitOfWork]:
        """A unit of work that is the only writer from the start, and commits at its end."""
        require(actor, permission)
        with self._units() as uow:
            uow.lock()
            yield uow
            uow.commit()

    def _viewer(self, actor: Actor, tab: str | None) -> Viewer:
        return Viewer(actor.pseudonym, tab, holding.timestamp(self._clock()))

    def _extended(self, uow: UnitOfWork, case_id: str, actor: Actor, tab: str, token: int) -> Lease:
        """The lease from now on. Raises `StaleLease`."""
        hold = holding.held(uow, case_id, holder=actor.pseudonym, tab=tab, token=token)
        return holding.extend(uow, hold, self._clock(), self._settings.lease_seconds)

    def _open(
        self,
        uow: UnitOfWork,
        case: Case,
        actor: Actor,
        tab: str,
        picked: Picked,
        take_over: bool = False,
    ) -> Opened:
        """Lease the case where this person may work on it, and put on record what is shown."""
        lease = None
        if phase_of(uow, case, actor.pseudonym) is Phase.DONE:
            refusal: ReadOnly | None = refusal_to_work(uow, case, actor.pseudonym)
        else:
            require(actor, picking.permission_for(case.state))
            refusal = None
            try:
                lease = holding.acquire(
                    uow,
                    case.id,
                    holder=actor.pseudonym,
                    tab=tab,
                    moment=self._clock(),
                    seconds=self._settings.lease_seconds,
                    take_over=take_over,
                )
            except (HeldByOther, HeldElsewhere) as error:
                elsewhere = isinstance(error, HeldElsewhere)
                refusal = ReadOnly(error.detail_code, error.message, can_take_over=elsewhere)
        opened = self._view(uow, case, actor, picked, lease, refusal)
        uow.record(opened_event(opened, actor))
        return opened

    def _view(
        self,
        uow: UnitOfWork,
        case: Case,
        actor: Actor,
        picked: Picked,
        lease: Lease | None,
        refusal: ReadOnly | None,
    ) -> Opened:
        return view(
            uow,
            case,
            actor.pseudonym,
            picked=picked,
            lease=lease,
            refusal=refusal,
            settings=self._settings.agreement,
        )

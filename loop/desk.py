"""The reviewers' desk: taking, holding, keeping, handing in and passing on cases.

Each method is one unit of work. Each checks the permission of whoever acts, and what is written
carries the lease's token: who lost the case in the meantime changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loop import drafting, handing_in, holding, picking, reopening
from loop.access import Permission, require
from loop.cases import Annotation, Case, CaseState
from loop.corrections import FinalBox
from loop.desk_core import DeskCore, DeskSettings
from loop.desk_views import Opened, Picked, phase_of
from loop.drafts import Draft
from loop.errors import CaseDone, NotFound, StaleLease
from loop.events import Actor
from loop.handing_in import SKIP_REASONS
from loop.leases import Lease
from loop.queue import Filters, Order, Page, Work
from loop.review import (
    FirstAnswer,
    FirstOutcome,
    check_waits_for_first,
    check_waits_for_second,
)
from loop.settling import SettledAnswer

__all__ = ["SKIP_REASONS", "Desk", "DeskSettings"]


class Desk(DeskCore):
    def take_next(
        self,
        work: Work,
        order: Order,
        filters: Filters,
        *,
        actor: Actor,
        tab: str,
        after: str | None = None,
    ) -> Opened | None:
        """Lease and open the next case, or None if there is none (other than ``after``).

        ``after`` is the id of a case that the order goes on behind, and from the start at its
        end: without it, a case that was released comes right back.
        """
        with self._change(actor, picking.permission_for(work.state)) as uow:
            chosen = picking.pick(
                uow,
                work.state,
                order,
                filters,
                self._viewer(actor, tab),
                after=after,
                random_share=self._settings.random_share,
                rng=self._rng,
            )
            if chosen is None:
                return None
            case, picked = chosen
            return self._open(uow, case, actor, tab, picked)

    def open_case(self, case_id: str, *, actor: Actor, tab: str, take_over: bool = False) -> Opened:
        """Open a case by its id: to work on it where that is possible, else to read.

        ``take_over`` takes it from this person's own other tab. Raises `NotFound`, `NotAllowed`.
        """
        with self._change(actor, Permission.REVIEW) as uow:
            case = uow.cases.get(case_id)
            return self._open(uow, case, actor, tab, Picked.ASKED, take_over)

    def heartbeat(self, case_id: str, *, actor: Actor, tab: str, token: int) -> Lease:
        """Raises `StaleLease`."""
        with self._change(actor, Permission.REVIEW) as uow:
            return self._extended(uow, case_id, actor, tab, token)

    def release(self, case_id: str, *, actor: Actor, tab: str, token: int) -> None:
        """Free the case at once. A stale token frees nothing, and is no error."""
        with self._change(actor, Permission.REVIEW) as uow:
            try:
                hold = holding.held(uow, case_id, holder=actor.pseudonym, tab=tab, token=token)
            except StaleLease:
                return
            holding.free(uow, hold, self._clock())

    def save_draft(
        self,
        case_id: str,
        *,
        actor: Actor,
        tab: str,
        token: int,
        rev: int,
        document: Mapping[str, Any],
    ) -> tuple[Draft, Lease]:
        """Keep what is not handed in yet, and extend the lease.

        An older ``rev`` than the stored one changes nothing and gives the stored one. Raises
        `StaleLease`, or `CaseDone` for a settled case, and has then kept the document as a
        recovered draft; `TooLarge`, and `InvalidInput` for what is no JSON object.
        """
        person = actor.pseudonym
        with self._change(actor, Permission.REVIEW) as uow:
            case = uow.cases.get(case_id)
            draft = drafting.new_draft(
                case_id,
                person,
                phase=phase_of(uow, case, person),
                tab=tab,
                token=token,
                rev=rev,
                document=document,
                at=holding.timestamp(self._clock()),
            )
            try:
                lease = self._extended(uow, case_id, actor, tab, token)
            except StaleLease:
                drafting.recover(uow, case, draft)
                uow.commit()  # the refusal must not take the draft along
                if not case.is_open:
                    raise CaseDone(
                        "This case is settled by now.", hint="Your edit is kept as a draft."
                    ) from None
                raise
            kept = drafting.keep(uow, draft)
        return kept, lease

    def discard_draft(self, draft_id: str, *, actor: Actor) -> None:
        """Raises `NotFound`, also for somebody else's."""
        with self._change(actor, Permission.REVIEW) as uow:
            draft = uow.drafts.find(draft_id)
            if draft is None or draft.reviewer != actor.pseudonym:
                raise NotFound(f"You have no draft {draft_id}.")
            uow.drafts.delete(draft_id)

    def submit_first(
        self,
        case_id: str,
        answer: FirstAnswer,
        *,
        key: str,
        actor: Actor,
        tab: str,
        token: int,
    ) -> FirstOutcome:
        """As `loop.review.submit_first`; the same ``key`` again gives the first result."""
        with self._change(actor, Permission.REVIEW) as uow:
            if handing_in.is_known(uow, key, "first", case_id, actor):
                return handing_in.first_outcome(uow, case_id)
            case = uow.cases.get(case_id)
            check_waits_for_first(case)
            hold = holding.held(uow, case_id, holder=actor.pseudonym, tab=tab, token=token)
            holding.free(uow, hold, self._clock())
            return handing_in.first(
                uow, case, answer, key=key, actor=actor, settings=self._settings.agreement
            )

    def reveal(
        self,
        case_id: str,
        boxes: Sequence[FinalBox],
        *,
        active_seconds: float,
        actor: Actor,
        tab: str,
        token: int,
    ) -> Opened:
        """Seal the blind boxes, and show what the model and the first reviewer said.

        ``boxes`` are of origin ADDED. The same boxes again change nothing; others are a
        `Conflict`. Raises `OwnCase`, `CaseDone`, `StaleLease`, `InvalidAnswer`.
        """
        with self._change(actor, Permission.ADJUDICATE) as uow:
            case = uow.cases.get(case_id)
            check_waits_for_second(case, actor)
            lease = self._extended(uow, case_id, actor, tab, token)
            handing_in.seal(uow, case, tuple(boxes), active_seconds, actor=actor)
            return self._view(uow, case, actor, Picked.ASKED, lease, None)

    def submit_second(
        self,
        case_id: str,
        answer: SettledAnswer,
        *,
        key: str,
        actor: Actor,
        tab: str,
        token: int,
    ) -> Annotation:
        """Settle the case with the sealed blind boxes and this answer; ``key`` as above.

        Raises `Conflict` before the reveal, `InvalidAnswer` for a box that is unaccounted for.
        """
        with self._change(actor, Permission.ADJUDICATE) as uow:
            if handing_in.is_known(uow, key, "second", case_id, actor):
                return handing_in.annotation_of(uow, case_id)
            case = uow.cases.get(case_id)
            check_waits_for_second(case, actor)
            holding.held(uow, case_id, holder=actor.pseudonym, tab=tab, token=token)
            return handing_in.second(uow, case, answer, key=key, actor=actor)

    def skip(self, case_id: str, reason: str, *, actor: Actor, tab: str, token: int) -> None:
        """Pass the case on: it stays for others, and does not come back to this person.

        ``reason`` is a code of `SKIP_REASONS`. Raises `StaleLease`, `CaseDone`.
        """
        with self._change(actor, Permission.REVIEW) as uow:
            case = uow.cases.get(case_id)
            if not case.is_open:
                raise CaseDone("This case is settled by now.", hint="Take the next case.")
            hold = holding.held(uow, case_id, holder=actor.pseudonym, tab=tab, token=token)
            holding.free(uow, hold, self._clock())
            handing_in.skip(uow, case, reason, actor=actor)

    def reopen(self, case_id: str, reason: str, *, actor: Actor) -> Case:
        """As `loop.reopening.reopen`."""
        return reopening.reopen(self._units, case_id, reason, actor=actor)

    def page(
        self,
        state: CaseState,
        order: Order,
        filters: Filters,
        *,
        actor: Actor,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Without what others hold, what this person skipped and, for SECOND, their own cases."""
        require(actor, picking.permission_for(state))
        viewer = self._viewer(actor, tab=None)
        with self._units() as uow:
            return picking.page(uow, state, order, filters, viewer, cursor=cursor, limit=limit)

    def counts(self, actor: Actor) -> dict[CaseState, int]:
        """How many cases stand in each state; for SECOND, without this person's own."""
        require(actor, Permission.SEE_PROGRESS)
        with self._units() as uow:
            return {
                state: uow.queue.count(state, Filters(), not_by=actor.pseudonym)
                for state in CaseState
            }

    def models(self, state: CaseState, *, actor: Actor) -> list[str]:
        """``name:version`` of every model with a case in that state."""
        require(actor, Permission.SEE_PROGRESS)
        with self._units() as uow:
            return uow.queue.models(state)

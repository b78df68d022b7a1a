"""Keeping drafts in a unit of work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loop.cases import Case, CaseState
from loop.drafts import Draft
from loop.errors import InvalidInput, TooLarge
from loop.events import new_id
from loop.ports import UnitOfWork

LARGEST_DOCUMENT_BYTES = 1_000_000
# Of one person and case. Each needs a lost lease: more than this is a page gone wrong.
MOST_RECOVERED = 20


def check_document(document: object) -> None:
    """Raise `InvalidInput` for what is no JSON object, `TooLarge` for one of more than 1 MB."""
    if not isinstance(document, Mapping):
        raise InvalidInput("A draft is a JSON object.")
    try:
        size = len(json.dumps(document, allow_nan=False, separators=(",", ":")).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("A draft is a JSON object.") from error
    if size > LARGEST_DOCUMENT_BYTES:
        raise TooLarge(
            f"A draft of {size} bytes is more than the {LARGEST_DOCUMENT_BYTES} that are kept.",
            hint="Hand in what you have, or undo some of it.",
        )


def keep(uow: UnitOfWork, draft: Draft) -> Draft:
    """Make ``draft`` the live one, unless a later one is there; returns which one is."""
    live = uow.drafts.live(draft.case_id, draft.reviewer)
    if live is not None and live.phase != draft.phase:
        # From when the case was in another state: its boxes answer another question.
        uow.drafts.put(replace(live, recovered=True))
    elif live is not None:
        if draft.rev < live.rev:
            return live
        draft = replace(draft, id=live.id)
    uow.drafts.put(draft)
    return draft


def recover(uow: UnitOfWork, case: Case, draft: Draft) -> None:
    """Keep what came with a lost lease: one for each lease that was lost, the latest of it."""
    draft = replace(draft, phase=_phase_when_saved(uow, case, draft))
    known = uow.drafts.recovered(draft.case_id, draft.reviewer)
    for each in known:
        if (each.tab, each.token) == (draft.tab, draft.token):
            if draft.rev >= each.rev:
                uow.drafts.put(replace(draft, id=each.id, phase=each.phase, recovered=True))
            return
    uow.drafts.put(replace(draft, recovered=True))
    for oldest in known[MOST_RECOVERED - 1 :]:
        uow.drafts.delete(oldest.id)


def _phase_when_saved(uow: UnitOfWork, case: Case, draft: Draft) -> str:
    """What its lease was for; empty if that cannot be told any more.

    The case may have moved on since: what somebody drew beside the model's boxes must not come
    back to them as theirs in a blind second look.
    """
    if case.state in (CaseState.FIRST, CaseState.REOPENED):
        return draft.phase
    live = uow.drafts.live(draft.case_id, draft.reviewer)
    return live.phase if live is not None and live.token == draft.token else ""


def new_draft(
    case_id: str,
    reviewer: str,
    *,
    phase: str,
    tab: str,
    token: int,
    rev: int,
    document: Mapping[str, Any],
    at: str,
) -> Draft:
    """Raises `InvalidInput`, `TooLarge`."""
    check_document(document)
    largest = 2**53  # what a page's numbers count to
    if not 0 <= rev <= largest or not 0 <= token <= largest or len(tab) > 64:
        raise InvalidInput("This is no draft of ours.", hint="Reload the page.")
    return Draft(new_id(), case_id, reviewer, phase, tab, token, rev, document, at)

"""An opened case as the desk's page gets it: JSON, and no more than `loop.desk` has let out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loop.cases import Case
from loop.corrections import FinalBox
from loop.desk_views import Opened, Phase
from loop.drafts import Draft
from loop.grouping import Group
from loop.leases import Lease
from loop.predictions import Detection
from loop.queue import REASON_TEXTS

Json = dict[str, Any]

_TELLS_NOTHING = ("escalated", "reopened")
_SECOND_LOOK = "second_look"
_SECOND_LOOK_TEXT = "A second look is wanted"


def case_view(opened: Opened) -> Json:
    """The page's view of ``opened``. In the phase BLIND there is nothing to leave out: `Opened`
    holds neither prediction nor first answer then."""
    correction, second = opened.correction, opened.second_review
    return {
        "case": case_row(opened.case, blind=opened.phase is Phase.BLIND),
        "picked": opened.picked.value,
        "image": {
            "id": opened.image.id,
            "width": opened.image.width,
            "height": opened.image.height,
            "url": f"/desk/images/{opened.image.id}",
        },
        "phase": opened.phase.value,
        "lease": lease_view(opened.lease) if opened.lease else None,
        "read_only": {
            "code": opened.refusal.code,
            "text": opened.refusal.text,
            "can_take_over": opened.refusal.can_take_over,
        }
        if opened.refusal
        else None,
        "layers": {
            "model": _detections(opened.prediction.detections if opened.prediction else ()),
            "first": _boxes(correction.boxes if correction else ()),
            "second": _boxes(opened.blind or ()),
        },
        "groups": [_group(group) for group in opened.groups],
        "annotation": _boxes(opened.annotation.boxes) if opened.annotation else None,
        "first_comment": correction.comment if correction else "",
        "second_comment": second.comment if second else "",
        "draft": _draft(opened.draft) if opened.draft else None,
        "recovered": [{"id": draft.id, **_draft(draft)} for draft in opened.recovered],
    }


def case_row(case: Case, *, blind: bool) -> Json:
    """``blind``: for somebody who may have to look at it blind, so without what the model or the
    first reviewer thought of it. That a second look was asked for tells nothing of their boxes."""
    why = case.reasons
    if blind:
        told = tuple(code for code in case.reasons if code in _TELLS_NOTHING)
        why = told or (_SECOND_LOOK,)
    return {
        "id": case.id,
        "image_id": case.image_id,
        "state": case.state.value,
        "work": case.state.value,
        "reasons": reasons(why),
        "priority": None if blind else case.priority,
        "disagreement": None if blind else case.disagreement,
        "model": None if blind else case.model or None,
        "created_at": case.created_at,
        "reopens": case.reopens,
    }


def reasons(codes: Sequence[str]) -> list[Json]:
    """Why a case is where it is, as codes and in words."""
    texts = {_SECOND_LOOK: _SECOND_LOOK_TEXT, **REASON_TEXTS}
    return coded({code: texts.get(code, code.replace("_", " ")) for code in codes})


def coded(texts: Mapping[str, str]) -> list[Json]:
    return [{"code": code, "text": text} for code, text in texts.items()]


def lease_view(lease: Lease) -> Json:
    return {"token": lease.token, "expires_in": lease.expires_in}


def _detections(detections: Sequence[Detection]) -> list[Json]:
    return [detection.as_dict() for detection in detections]


def _boxes(boxes: Sequence[FinalBox]) -> list[Json]:
    return [_box(box) for box in boxes]


def _box(box: FinalBox) -> Json:
    row = box.as_dict()
    lineage = row.pop("lineage", None) or {"how": None, "reason": None, "sources": []}
    return row | lineage


def _group(group: Group) -> Json:
    return {
        "id": group.id,
        "model": group.model,
        "first": group.first,
        "second": group.second,
        "agree": group.agree,
        "differences": list(group.differences),
        "text": group.text,
    }


def _draft(draft: Draft) -> Json:
    return {"rev": draft.rev, "saved_at": draft.saved_at, "document": dict(draft.document)}

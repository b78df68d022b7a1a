"""Snapshots and promotions: what models are made of, and how they got into service."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, and_, desc, select, update

from loop.errors import Conflict, NotFound
from loop.gate_record import GateRecord
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.snapshots import Manifest, SnapshotRecord
from store import tables
from store.repositories.base import Repository


class SqlSnapshots(Repository):
    def add(self, record: SnapshotRecord) -> bool:
        table = tables.snapshots
        if self._one(select(table.c.sha256).where(table.c.sha256 == record.sha256)):
            return False
        self._insert(
            table,
            sha256=record.sha256,
            manifest=record.manifest.as_dict(),
            created_at=record.created_at,
            created_by=record.created_by,
        )
        return True

    def get(self, prefix: str) -> SnapshotRecord:
        table = tables.snapshots
        query = select(table).where(table.c.sha256.startswith(prefix, autoescape=True)).limit(2)
        rows = self._all(query)
        hint = "secondlook snapshot list shows every one."
        if not rows or not prefix:
            raise NotFound(f"There is no snapshot {prefix!r}.", hint=hint)
        if len(rows) > 1:
            raise Conflict(f"More than one snapshot begins with {prefix!r}.", hint=hint)
        return _snapshot(rows[0])

    def list(self) -> list[SnapshotRecord]:
        table = tables.snapshots
        query = select(table).order_by(table.c.created_at, table.c.sha256)
        return [_snapshot(row) for row in self._all(query)]


class SqlPromotions(Repository):
    def add(self, promotion: Promotion) -> None:
        self._insert(
            tables.promotions,
            id=promotion.id,
            model_name=promotion.candidate.name,
            model_version=promotion.candidate.version,
            document=_promotion_document(promotion),
            created_at=promotion.created_at,
        )

    def update(self, promotion: Promotion) -> None:
        table = tables.promotions
        statement = (
            update(table)
            .where(table.c.id == promotion.id)
            .values(document=_promotion_document(promotion))
        )
        if self._transaction.write(statement) != 1:
            raise NotFound(f"There is no promotion {promotion.id}.")

    def find(self, name: str, version: str) -> Promotion | None:
        table = tables.promotions
        query = select(table).where(
            and_(table.c.model_name == name, table.c.model_version == version)
        )
        row = self._one(query.order_by(desc(table.c.created_at), desc(table.c.id)).limit(1))
        return _promotion(row) if row else None

    def list(self) -> list[Promotion]:
        table = tables.promotions
        query = select(table).order_by(table.c.created_at, table.c.id)
        return [_promotion(row) for row in self._all(query)]


def _snapshot(row: RowMapping) -> SnapshotRecord:
    return SnapshotRecord(
        row["sha256"], Manifest.from_dict(row["manifest"]), row["created_at"], row["created_by"]
    )


def _promotion_document(promotion: Promotion) -> dict[str, Any]:
    score, gate = promotion.champion_score, promotion.decision.gate
    return {
        "candidate": promotion.candidate.as_dict(),
        "champion": promotion.champion.as_dict() if promotion.champion else None,
        "candidate_score": promotion.candidate_score.as_dict(),
        "champion_score": score.as_dict() if score else None,
        "verdict": promotion.decision.verdict.value,
        "reasons": list(promotion.decision.reasons),
        "gate": gate.as_dict() if gate else None,
        "approvers": promotion.approvers,
        "state": promotion.state.value,
        "decided_by": promotion.decided_by,
        "reason": promotion.reason,
        "history": [dict(step) for step in promotion.history],
    }


def _promotion(row: RowMapping) -> Promotion:
    document = row["document"]
    champion, score = document["champion"], document["champion_score"]
    # Records of the rule that compared two scores have neither gate nor approvers.
    gate = document.get("gate")
    decision = Decision(
        Verdict(document["verdict"]),
        tuple(document["reasons"]),
        GateRecord.from_dict(gate) if gate else None,
    )
    return Promotion(
        id=row["id"],
        candidate=ModelRef.from_dict(document["candidate"]),
        champion=ModelRef.from_dict(champion) if champion else None,
        candidate_score=GoldScore.from_dict(document["candidate_score"]),
        champion_score=GoldScore.from_dict(score) if score else None,
        decision=decision,
        state=PromotionState(document["state"]),
        created_at=row["created_at"],
        decided_by=document["decided_by"],
        reason=document["reason"],
        history=tuple(document["history"]),
        approvers=document.get("approvers", 1),
    )

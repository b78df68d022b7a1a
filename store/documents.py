"""Documents that are kept for ten years, as `loop.retention.Documents` of each kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from loop.events import canonical_json
from loop.ports import UnitsOfWork
from loop.promotions import Promotion
from loop.retention import Document
from store.model_registry import ModelRegistry


class ModelDocuments:
    """Registered versions. The time of one begins when it was registered, or when something was
    last decided about it or compared with it, and not while it has an alias."""

    by_hand = ""

    def __init__(self, units: UnitsOfWork, registry: ModelRegistry) -> None:
        self._units = units
        self._registry = registry

    def all(self) -> Sequence[Document]:
        with self._units() as uow:
            promotions = uow.promotions.list()
        return [
            Document(
                "model",
                found.ref.version,
                found.ref.digest,
                None
                if found.aliases
                else max([found.created_at, *_mentions(promotions, found.ref.version)]),
            )
            for found in self._registry.versions()
        ]

    def delete(self, document: Document) -> None:
        self._registry.delete_version(self._registry.resolve(document.name))


class SnapshotDocuments:
    """Snapshots: their files are in a workspace's git and DVC, where its owner deletes."""

    by_hand = "in the workspace: remove the snapshot, then dvc gc"

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units

    def all(self) -> Sequence[Document]:
        with self._units() as uow:
            return [
                Document("snapshot", each.sha256[:12], each.sha256, each.created_at)
                for each in uow.snapshots.list()
            ]


class GateReports:
    """Verdicts on candidates, with the people who decided: other records refer to them."""

    by_hand = "they stay as long as the database does"

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units

    def all(self) -> Sequence[Document]:
        with self._units() as uow:
            return [
                Document("gate_report", each.id, _digest(each), each.created_at)
                for each in uow.promotions.list()
            ]


def _mentions(promotions: Sequence[Promotion], version: str) -> list[str]:
    """When the version was a candidate, or the champion that one was compared with."""
    return [
        at
        for each in promotions
        if version in (each.candidate.version, each.champion.version if each.champion else "")
        for at in (each.created_at, *(step["at"] for step in each.history))
    ]


def _digest(promotion: Promotion) -> str:
    steps = [dict(step) for step in promotion.history]
    content = canonical_json([promotion.candidate_score.as_dict(), steps])
    return hashlib.sha256(content).hexdigest()

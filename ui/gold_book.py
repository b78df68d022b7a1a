"""Candidates, their verdicts and what they saw on the gold set, as the training page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from loop.errors import BrokenRecord, NotEnoughData, NotFound
from loop.gold import GoldDetections, detections_path, read_gold
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CANDIDATE
from loop.promotions import Promotion
from store.model_registry import ModelVersion
from ui.keeping import keep

_MOST_KEPT = 8


class Texts(Protocol):
    """What is needed of `store.tracking.Tracking`."""

    def read_text(self, run_id: str, path: str) -> str: ...


class Versions(Protocol):
    """What is needed of `store.model_registry.ModelRegistry`."""

    def versions(self) -> list[ModelVersion]: ...
    def run_of(self, ref: ModelRef) -> str: ...
    def find_alias(self, alias: str) -> ModelRef | None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that was measured, or waits to be."""

    ref: ModelRef
    aliases: tuple[str, ...]
    promotion: Promotion | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What both models saw on one gold set, and whether that is the verdict's; or, in ``missing``,
    whose detections are not kept."""

    before: GoldDetections | None
    after: GoldDetections | None
    same_gold: bool
    missing: tuple[ModelRef, ...]


class GoldBook:
    def __init__(self, units: UnitsOfWork, versions: Versions, texts: Texts) -> None:
        self._units = units
        self._versions = versions
        self._texts = texts
        self._kept: dict[tuple[str, str], GoldDetections] = {}

    def promotions(self) -> list[Promotion]:
        """Newest first."""
        with self._units() as uow:
            return uow.promotions.list()[::-1]

    def candidates(self) -> list[Candidate]:
        """Newest version first."""
        latest: dict[str, Promotion] = {}
        for promotion in self.promotions():
            latest.setdefault(promotion.candidate.version, promotion)
        return [
            Candidate(version.ref, version.aliases, latest.get(version.ref.version))
            for version in reversed(self._versions.versions())
            if version.ref.version in latest or CANDIDATE in version.aliases
        ]

    def alias(self, name: str) -> ModelRef | None:
        return self._versions.find_alias(name)

    def seen(self, promotion: Promotion) -> Seen:
        """On the verdict's gold set; where that is not kept, on today's."""
        models = [promotion.candidate]
        if promotion.champion is not None:
            models.append(promotion.champion)
        gold = promotion.candidate_score.gold_sha256
        found = self._on(gold, models)
        same = True
        if len(found) < len(models) and (today := self._gold_today()) not in ("", gold):
            on_today = self._on(today, models)
            # Measuring again measures on today's set: what is missing there is asked for.
            same, found = False, on_today
        missing = tuple(model for model in models if model.version not in found)
        champion = promotion.champion
        return Seen(
            before=found.get(champion.version) if champion else None,
            after=found.get(promotion.candidate.version),
            same_gold=same,
            missing=missing,
        )

    def _on(self, gold_sha256: str, models: Sequence[ModelRef]) -> Mapping[str, GoldDetections]:
        found = {model.version: self._detections(gold_sha256, model) for model in models}
        return {version: each for version, each in found.items() if each is not None}

    def _detections(self, gold_sha256: str, model: ModelRef) -> GoldDetections | None:
        key = (gold_sha256, model.digest)
        if known := self._kept.get(key):
            return known
        path = detections_path(gold_sha256, model.version)
        try:
            text = self._texts.read_text(self._versions.run_of(model), path)
            seen = GoldDetections.from_json(text)
        except (NotFound, BrokenRecord):
            return None
        if seen.model != model or seen.gold_sha256 != gold_sha256:
            return None
        return keep(self._kept, key, seen, _MOST_KEPT)

    def _gold_today(self) -> str:
        try:
            with self._units() as uow:
                gold = read_gold(uow)
        except NotEnoughData:
            return ""
        return gold.sha256 if gold.image_ids else ""

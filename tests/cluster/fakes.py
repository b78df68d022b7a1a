"""A model registry and a service that live in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loop.classes import ClassList
from loop.errors import NotFound, Unavailable
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from store.model_files import SignatureNote

CLASSES = ClassList(("cell", "rod"))


def model(version: str) -> ModelRef:
    return ModelRef("detector", version, version[0] * 64)


class FakeRegistry:
    """The part of `store.model_registry.ModelRegistry` that `loop.promoting` uses."""

    def __init__(self, **aliases: ModelRef) -> None:
        self.aliases = dict(aliases)
        self.registered: list[Path] = []
        self.tags: dict[str, dict[str, str]] = {}

    def register(
        self,
        weights: Path,
        *,
        classes: ClassList,
        run_id: str | None,
        tags: Mapping[str, str],
        exports: Mapping[str, Path],
        refused: Mapping[str, str],
    ) -> ModelRef:
        self.registered.append(weights)
        return model(str(len(self.registered)))

    def signature_of(self, ref: ModelRef) -> SignatureNote:
        return SignatureNote("k" * 64, "5" * 64)

    def exports_of(self, ref: ModelRef) -> dict[str, str]:
        return {}

    def find_alias(self, alias: str) -> ModelRef | None:
        return self.aliases.get(alias)

    def set_alias(self, alias: str, ref: ModelRef) -> None:
        self.aliases[alias] = ref

    def delete_alias(self, alias: str) -> None:
        if alias not in self.aliases:
            raise NotFound(alias)
        del self.aliases[alias]

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        self.tags.setdefault(ref.version, {}).update(tags)


class FakeService:
    """Takes models into service, unless their version is in ``refuses``."""

    def __init__(self, serving: ModelRef, refuses: frozenset[str] = frozenset()) -> None:
        self.serving = serving
        self._refuses = refuses

    def swap(self, ref: ModelRef) -> None:
        if ref.version in self._refuses:
            raise Unavailable("The model does not load.")
        self.serving = ref


def score(ref: ModelRef, map50_95: float) -> GoldScore:
    return GoldScore(ref, map50_95, map50_95, {"cell": map50_95, "rod": map50_95}, 40, "d" * 64)


def proposal(
    candidate: ModelRef, champion: ModelRef | None, verdict: Verdict = Verdict.PROMOTE
) -> Promotion:
    return Promotion(
        id=f"promotion-{candidate.version}",
        candidate=candidate,
        champion=champion,
        candidate_score=score(candidate, 0.6),
        champion_score=score(champion, 0.5) if champion else None,
        decision=Decision(verdict, ("It is better.",)),
        state=PromotionState.PROPOSED,
        created_at="2026-01-01T00:00:00.000000Z",
    )

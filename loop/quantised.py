"""A model in INT8 beside the one that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Quantised:
    """``files_sha256`` is the digest of the INT8 model's files: the weights' digest is that of its
    source. ``source_version`` scored so on the same images; empty and None if it is gone."""

    files_sha256: str
    source_version: str = ""
    source_map50: float | None = None
    source_map50_95: float | None = None

    def changes(self, map50: float, map50_95: float) -> dict[str, float]:
        """By which mAP50 and mAP50-95 differ from the source's; empty if that was not measured."""
        if self.source_map50 is None or self.source_map50_95 is None:
            return {}
        return {"map50": map50 - self.source_map50, "map50_95": map50_95 - self.source_map50_95}

    def sentence(self, map50: float, map50_95: float) -> str:
        """For people, of a model in INT8 with these scores."""
        changes = self.changes(map50, map50_95)
        if not changes:
            return "It is a model in INT8, and the one that it was made of was not measured."
        return (
            f"It is version {self.source_version} in INT8: mAP50-95 {map50_95:.3f} instead of "
            f"{self.source_map50_95:.3f} ({changes['map50_95']:+.3f}), mAP50 {map50:.3f} instead "
            f"of {self.source_map50:.3f} ({changes['map50']:+.3f})."
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Quantised:
        return cls(**data)

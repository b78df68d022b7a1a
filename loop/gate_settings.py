"""What the gate asks of a candidate, and how much doubt it allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Scores are in [0, 1], probabilities too.

    ``min_gain`` is what the gain in mAP50-95 must exceed, ``min_gain_50`` that in mAP50 (below 0
    it is a margin by which mAP50 may be worse); no class may lose ``max_class_loss`` of AP50-95 or
    more; an image may take at most ``max_latency_factor`` times as long. Below ``min_images`` gold
    images nothing is compared. ``alpha`` is the risk of any wrong promotion over all uses of one
    gold set, and ``planned_uses`` how many uses most of it is shared among. The bootstrap draws
    ``replicates`` sets. So many different people as ``approvers`` must approve.
    """

    min_gain: float = 0.0
    min_gain_50: float = 0.0
    max_class_loss: float = 0.1
    max_latency_factor: float = 1.5
    min_images: int = 10
    alpha: float = 0.05
    planned_uses: int = 10
    replicates: int = 4000
    approvers: int = 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GateSettings:
        return cls(**data)

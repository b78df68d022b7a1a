"""What the service was told to serve: the record that every replica follows, also one that starts.

An order takes the place of the one before it. Whether it was carried out the replicas say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loop.predictions import ModelRef
from loop.trials import TrialPlan


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is detected until a person lifts it. ``by`` is a pseudonym, ``at`` RFC 3339, UTC."""

    by: str
    at: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return {"by": self.by, "at": self.at, "reason": self.reason}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stop:
        return cls(str(data["by"]), str(data["at"]), str(data["reason"]))


@dataclass(frozen=True, slots=True)
class ServingOrder:
    """``model`` is to be served (None: none), and ``trial`` to be tried beside it; with a ``stop``
    neither is. The same model ordered again is another order: one that failed is tried again.
    ``at`` is RFC 3339 in UTC."""

    id: str
    model: ModelRef | None
    trial: TrialPlan | None
    at: str
    stop: Stop | None = None

    @property
    def served(self) -> ModelRef | None:
        """What replicas detect with."""
        return None if self.stop else self.model

    @property
    def tried(self) -> TrialPlan | None:
        """What replicas try beside it."""
        return None if self.stop else self.trial

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "model": self.model.as_dict() if self.model else None,
            "trial": self.trial.as_dict() if self.trial else None,
            "at": self.at,
            "stop": self.stop.as_dict() if self.stop else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServingOrder:
        model, trial = data["model"], data["trial"]
        stop = data.get("stop")  # orders from before there was a stop switch have none
        return cls(
            str(data["id"]),
            ModelRef.from_dict(model) if model else None,
            TrialPlan.from_dict(trial) if trial else None,
            str(data["at"]),
            Stop.from_dict(stop) if stop else None,
        )

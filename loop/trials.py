"""Trials: a candidate beside the champion on live images, before anybody decides about it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loop.errors import Conflict, InvalidInput
from loop.predictions import ModelRef

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_FRACTION = re.compile(r"0?\.\d+")


class TrialKind(StrEnum):
    CANARY = "canary"  # a share of the requests is answered by the candidate
    SHADOW = "shadow"  # it is given a share of the images as well; the champion answers all


class TrialState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"  # it could not be loaded; the champion answers as before


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What a replica is told. ``share``, of the images, is in (0, 1]."""

    id: str
    kind: TrialKind
    share: float
    model: ModelRef

    def takes(self, image: bytes) -> bool:
        """Whether the candidate is given these bytes of an upload: the same bytes, the same
        answer, so that who sends an image again hears from the same model; and each trial takes
        other images."""
        digest = hashlib.blake2b(image, digest_size=8, key=self.id.encode()).digest()
        return int.from_bytes(digest) < self.share * 2**64

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            "share": self.share,
            "model": self.model.as_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialPlan:
        return cls(
            str(data["id"]),
            TrialKind(data["kind"]),
            float(data["share"]),
            ModelRef.from_dict(data["model"]),
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """On record. ``run_id`` is the MLflow run that has the comparison; ``reason`` why it ended."""

    id: str
    kind: TrialKind
    share: float
    candidate: ModelRef
    champion: ModelRef
    state: TrialState
    started_by: str
    created_at: str
    run_id: str = ""
    ended_at: str = ""
    reason: str = ""

    @property
    def plan(self) -> TrialPlan:
        return TrialPlan(self.id, self.kind, self.share, self.candidate)

    @property
    def open(self) -> bool:
        return self.state in (TrialState.STARTING, TrialState.RUNNING)

    def running(self, run_id: str) -> Trial:
        """Raises `Conflict` if it ended while it was being started."""
        self._require_open()
        return replace(self, state=TrialState.RUNNING, run_id=run_id)

    def ended(self, state: TrialState, *, at: str, reason: str) -> Trial:
        """Raises `Conflict` if it ended before."""
        self._require_open()
        return replace(self, state=state, ended_at=at, reason=reason)

    def _require_open(self) -> None:
        if not self.open:
            raise Conflict(
                f"The trial of version {self.candidate.version} is {self.state} already.",
                hint="secondlook models trial shows it.",
            )

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            "share": self.share,
            "candidate": self.candidate.as_dict(),
            "champion": self.champion.as_dict(),
            "state": self.state.value,
            "started_by": self.started_by,
            "created_at": self.created_at,
            "run_id": self.run_id,
            "ended_at": self.ended_at,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        return cls(
            **{
                **data,
                "kind": TrialKind(data["kind"]),
                "candidate": ModelRef.from_dict(data["candidate"]),
                "champion": ModelRef.from_dict(data["champion"]),
                "state": TrialState(data["state"]),
            }
        )


def parse_share(text: str) -> float:
    """A share of the images, as people write it: ``5%`` or ``0.05``. Raises `InvalidInput`."""
    percent, fraction = _PERCENT.fullmatch(text.strip()), _FRACTION.fullmatch(text.strip())
    share = float(percent[1]) / 100 if percent else float(text) if fraction else 0.0
    if not 0 < share <= 1:
        raise InvalidInput(
            f"{text!r} is not a share of the images.", hint="Write 5% or 0.05, and at most 100%."
        )
    return share

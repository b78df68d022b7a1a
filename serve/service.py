"""What the HTTP API needs of whatever runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loop.classes import ClassList
from loop.predictions import Detection, ModelRef


@dataclass(frozen=True, slots=True)
class Detected:
    """What one model version saw in one image."""

    model: ModelRef
    classes: ClassList
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """``model`` serves now; ``wanted`` is the one that was last asked for. They differ while it
    is ``loading``, and after it failed with ``error``: then the model before it serves on."""

    model: ModelRef | None = None
    classes: tuple[str, ...] = ()
    image_size: int | None = None
    wanted: ModelRef | None = None
    loading: bool = False
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.as_dict() if self.model else None,
            "classes": list(self.classes),
            "image_size": self.image_size,
            "wanted": self.wanted.as_dict() if self.wanted else None,
            "loading": self.loading,
            "error": self.error,
        }


def furthest_behind(statuses: Sequence[ServiceStatus]) -> ServiceStatus:
    """Of several replicas' states the one that a swap still waits for: failed, then without a
    model, then loading. So what the API says to be served is served by all of them."""
    return max(
        statuses,
        key=lambda status: (status.error is not None, status.model is None, status.loading),
    )


class DetectionService(Protocol):
    async def detect(self, pixels: NDArray[np.uint8]) -> Detected:
        """Boxes in ``pixels`` (height x width x 3, RGB).

        Raises `NoModel` while there is none and `Unavailable` when it cannot keep up.
        """

    async def status(self) -> ServiceStatus: ...

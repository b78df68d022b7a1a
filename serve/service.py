"""What the HTTP API needs of whatever runs the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from detector.jobs import Source
from loop.classes import ClassList
from loop.errors import Stopped
from loop.predictions import Detection, ModelRef
from loop.serving_orders import Stop
from loop.trials import TrialPlan

if TYPE_CHECKING:
    from serve.metrics import Metrics


# By the trial's id, then by the replica's name: `loop.trial_counts.TrialCounts`, as a dictionary.
TrialCountsById = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Detected:
    """What one model version saw in one image."""

    model: ModelRef
    classes: ClassList
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """A candidate beside the model in service. It is given no images while it is ``loading``, nor
    after it failed with ``error``."""

    plan: TrialPlan
    loading: bool = False
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**self.plan.as_dict(), "loading": self.loading, "error": self.error}


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """``model`` serves now; ``wanted`` is the one that was last asked for, by ``order`` (the id of
    a `loop.serving_orders.ServingOrder`, empty before the first). They differ while it is
    ``loading``, and after it failed with ``error``: then the model before it serves on. While it is
    ``stopped`` there is neither."""

    model: ModelRef | None = None
    classes: tuple[str, ...] = ()
    image_size: int | None = None
    wanted: ModelRef | None = None
    loading: bool = False
    error: str | None = None
    trial: TrialStatus | None = None
    order: str = ""
    stopped: Stop | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.as_dict() if self.model else None,
            "classes": list(self.classes),
            "image_size": self.image_size,
            "wanted": self.wanted.as_dict() if self.wanted else None,
            "loading": self.loading,
            "error": self.error,
            "trial": self.trial.as_dict() if self.trial else None,
            "order": self.order,
            "stopped": self.stopped.as_dict() if self.stopped else None,
        }


def furthest_behind(statuses: Sequence[ServiceStatus]) -> ServiceStatus:
    """Of several replicas' states the one that a swap still waits for: failed, then without a
    model, then loading. So what the API says to be served is served by all of them.

    Replicas that do not follow the same order yet are loading, whatever they say, and what they
    say is of none. They are stopped once all of them are: one that is not answers still.
    """
    behind = replace(_furthest_behind(statuses), trial=_trial_of_all(statuses))
    if not all(status.stopped for status in statuses):
        behind = replace(behind, stopped=None)
    if any(status.order != behind.order for status in statuses):
        return replace(behind, loading=True, error=None, order="")
    failed = sum(status.error is not None for status in statuses)
    if 0 < failed < len(statuses):
        return replace(behind, error=f"{behind.error} ({failed} of {len(statuses)} replicas)")
    return behind


def _furthest_behind(statuses: Sequence[ServiceStatus]) -> ServiceStatus:
    return max(
        statuses,
        key=lambda status: (status.error is not None, status.model is None, status.loading),
    )


def _trial_of_all(statuses: Sequence[ServiceStatus]) -> TrialStatus | None:
    """As for models: the one that is furthest behind; loading while not all try the same."""
    told = [status.trial for status in statuses if status.trial is not None]
    if not told:
        return None
    behind = max(told, key=lambda trial: (trial.error is not None, trial.loading))
    if len(told) < len(statuses) or any(trial.plan != behind.plan for trial in told):
        return replace(behind, loading=True, error=None)
    return behind


def out_of_service(stop: Stop) -> Stopped:
    """The error for a client; who stopped it, and why, is not for every client to know."""
    return Stopped(
        f"The model was taken out of service at {stop.at[:19]}Z.",
        hint="It answers again once a person puts it back. GET /v1/model says more.",
    )


class DetectionService(Protocol):
    """A replica and what it knows of its siblings."""

    @property
    def metrics(self) -> Metrics:
        """Of this replica."""

    @property
    def request_seconds(self) -> float:
        """How long reading, decoding and detecting one image may take."""

    def check_room(self) -> None:
        """Raises `serve.admission.Busy` if there is no room for another image, and `Stopped` while
        the stop switch is on."""

    def admitted(self) -> AbstractContextManager[None]:
        """Room for one image while the block runs. Raises `serve.admission.Busy`."""

    async def detect(self, source: Source, upload: bytes = b"") -> Detected:
        """Boxes in the image. Raises `NoModel` while there is none, `Stopped` if that came in the
        meantime, and what ``source`` raises.
        ``upload`` decides which model sees the image while two are compared."""

    async def status(self) -> ServiceStatus:
        """Of all replicas: `furthest_behind`."""

    def own_status(self) -> ServiceStatus: ...

    async def trials(self) -> TrialCountsById:
        """What all replicas have counted of the trial of this moment, or else of the last one."""

    async def exposition(self) -> bytes:
        """The metrics of all replicas, for Prometheus."""

"""Second Look on Ray Serve: the only file here that knows Ray.

Deployed by its import path, ``serve.app:build`` (`serve.release` does it). An ingress decodes
uploads, talks to the database and holds no model; the detector holds one and batches. They are
separate so that replicas of the model can be added without more of the rest.
"""

# No `from __future__ import annotations`: Serve reads the type of `build`'s argument as it is.

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import structlog
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from ray import serve as ray_serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from detector.base import Detector
from detector.loading import WEIGHTS
from detector.yolo import load_detector
from loop.errors import LoopError, Unavailable
from loop.predictions import ModelRef
from serve.api import Intake, build_api
from serve.keys import open_key_gate
from serve.model_slot import ModelSlot
from serve.service import Detected, ServiceStatus, furthest_behind
from store.image_codec import Limits
from store.image_files import open_image_store
from store.model_registry import open_model_registry
from store.pseudonyms import open_subject_pseudonyms
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work

# One batch is detected, in the model's one thread, while the next is gathered. What comes beyond
# that waits in the ingress.
_BATCHES_PER_REPLICA = 2
# How long a request waits for others to share its batch: well below one detection on a CPU.
_BATCH_WAIT_SECONDS = 0.005
# Uploads in one ingress at a time; each may hold SECONDLOOK_MAX_IMAGE_BYTES and its pixels.
_UPLOADS_AT_ONCE = 64
# Beyond this Serve itself answers 503: a queue that long is not worth waiting in.
_UPLOADS_WAITING = 256
_DETECTIONS_WAITING = 128


class AppArgs(BaseModel):
    """Arguments of the application in Serve's config; all else comes from the settings."""

    replicas: int = Field(1, gt=0)
    max_batch_size: int = Field(8, gt=0)
    # 0 reserves no CPU: on a small machine training must still find some to reserve, and a
    # detector that waits for a request uses none.
    cpus: float = Field(0, ge=0)


def build(args: AppArgs) -> ray_serve.Application:
    """The application: an ingress in front of ``args.replicas`` detectors."""
    detector = DetectorReplica.options(  # type: ignore[attr-defined]
        num_replicas=args.replicas,
        max_ongoing_requests=args.max_batch_size * _BATCHES_PER_REPLICA,
        max_queued_requests=_DETECTIONS_WAITING,
        ray_actor_options={"num_cpus": args.cpus},
    ).bind(args.max_batch_size)
    application: ray_serve.Application = Ingress.bind(detector)  # type: ignore[attr-defined]
    return application


@ray_serve.deployment
class DetectorReplica:
    """Holds the model. ``user_config`` swaps it: ``{"model": {name, version, digest} | null}``."""

    def __init__(self, max_batch_size: int) -> None:
        _use_all_cores()
        self._settings = load_settings()
        _log_from(self._settings)
        self._slot = ModelSlot(self._load)
        self._detect_batch.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Only notes what is wanted: one that waits stalls requests, one that raises ends them."""
        try:
            wanted = user_config.get("model")
            self._slot.ask_for(ModelRef.from_dict(wanted) if wanted else None)
        except Exception:  # it must not raise, whatever is in the config
            structlog.get_logger(__name__).exception("user_config.unusable", config=user_config)

    async def detect(self, pixels: NDArray[np.uint8]) -> Detected:
        detected: Detected = await self._detect_batch(pixels)
        return detected

    async def status(self) -> ServiceStatus:
        return self._slot.status()

    @ray_serve.batch(batch_wait_timeout_s=_BATCH_WAIT_SECONDS)
    async def _detect_batch(self, images: list[NDArray[np.uint8]]) -> list[Detected]:
        return await self._slot.detect(images)

    def _load(self, model: ModelRef) -> Detector:
        settings = self._settings
        # What is opened is what was checked: a copy that nothing else writes to.
        with TemporaryDirectory(prefix="second-look-model-") as own:
            files = open_model_registry(settings).fetch_verified(model, [WEIGHTS], Path(own))
            return load_detector(
                files[WEIGHTS],
                config_dir=settings.run_dir / "ultralytics",
                min_confidence=settings.min_confidence,
                nms_iou=settings.nms_iou,
            )


@ray_serve.deployment(
    max_ongoing_requests=_UPLOADS_AT_ONCE,
    max_queued_requests=_UPLOADS_WAITING,
    ray_actor_options={"num_cpus": 0},
)
@ray_serve.ingress()
class Ingress:
    """FastAPI, one replica: its metrics are of one process."""

    def __init__(self, detector: DeploymentHandle[Any]) -> None:
        self._detector = detector

    def __serve_build_asgi_app__(self) -> FastAPI:
        settings = load_settings()
        _log_from(settings)
        units = open_units_of_work(settings)
        intake = Intake(
            units,
            open_image_store(settings),
            open_subject_pseudonyms(settings).of,
        )
        limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        keys = open_key_gate(settings, units)
        return build_api(_Handle(self._detector), intake, limits, keys=keys, sets_request_id=False)


class _Handle:
    """A deployment handle as `DetectionService`, its errors translated."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def detect(self, pixels: NDArray[np.uint8]) -> Detected:
        with _translated():
            detected: Detected = await self._handle.detect.remote(pixels)
            return detected

    async def status(self) -> ServiceStatus:
        # Of every replica: each one swaps at its own pace.
        with _translated():
            statuses = await self._handle.broadcast("status").results_async()
        if not statuses:
            raise _not_running()
        return furthest_behind(statuses)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BackPressureError:
        raise Unavailable(
            "More images are waiting than can be worked off.",
            hint="Send fewer at a time, or raise SECONDLOOK_REPLICAS.",
            code="busy",
        ) from None
    except (DeploymentUnavailableError, RayActorError) as error:
        raise _not_running() from error
    except RayTaskError as error:
        if isinstance(error.cause, LoopError):
            raise error.cause from None
        raise


def _not_running() -> Unavailable:
    return Unavailable(
        "The detector is not running.",
        hint="It is started again if it crashed; secondlook status shows what runs.",
    )


def _use_all_cores() -> None:
    # Ray gives a worker without reserved CPUs one thread; a lone request would use one core.
    import torch

    torch.set_num_threads(os.cpu_count() or 1)


def _log_from(settings: Settings) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level.lower()),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )

"""Second Look on Ray Serve: the only file here that knows Ray.

Deployed by its import path, ``serve.app:build`` (`serve.release` does it). One deployment: a
replica takes the HTTP request, decodes, detects and answers in one process.
"""

# No `from __future__ import annotations`: Serve reads the type of `build`'s argument as it is.

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

from fastapi import FastAPI
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, Field
from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from detector.engine import Engine
from loop.errors import Unavailable
from loop.predictions import ModelRef
from serve import one_write
from serve.api import Intake, build_api
from serve.detection_log import DetectionLog
from serve.keys import open_key_gate
from serve.loading import load_engine
from serve.model_slot import ModelSlot
from serve.orders import OrderFollower
from serve.references import watch_drift
from serve.replica import OwnTrial, Replica
from serve.service import ServiceStatus
from serve.turns import turn
from store.image_codec import Limits
from store.image_store import open_image_store
from store.logs import configure_logs
from store.model_registry import open_model_registry
from store.pseudonyms import open_subject_pseudonyms
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

# Serve counts requests, we count images, and ours is the count that sends clients away: nothing
# may wait in Serve's own queue, where it would not be told to come again.
_REQUESTS_AT_ONCE = 4096
# A new replica takes no request before its first model is there, or this time is over.
_FIRST_MODEL_SECONDS = 120.0
# Replicas that swap load one after the other, as long as none of them takes longer than this.
_TURN_SECONDS = 30.0
_CALL_SECONDS = 10.0
# How long more is asked than replicas are there for until another one is started; by default 30.
_UPSCALE_SECONDS = 10.0


class AppArgs(BaseModel):
    """Arguments of the application in Serve's config; all else comes from the settings."""

    replicas: int = Field(1, gt=0)
    # More than ``replicas``: as many as keep ``target`` requests in each.
    max_replicas: int = Field(0, ge=0)
    target: float = Field(8, gt=0)
    # 0 reserves no CPU: on a small machine training must still find some to reserve, and a
    # detector that waits for a request uses none.
    cpus: float = Field(0, ge=0)
    gpus: float = Field(0, ge=0)
    # Of a custom resource of nodes that are for detection, each replica takes 1.
    resource: str = ""
    # How long fewer replicas must do until one ends.
    idle_seconds: float = Field(600, gt=0)
    # How long a replica that is no longer wanted may finish what it has begun.
    drain_seconds: float = Field(40, gt=0)


def build(args: AppArgs) -> ray_serve.Application:
    """The application: ``args.replicas`` detectors, or from so many to ``args.max_replicas``."""
    scale: dict[str, Any] = {"num_replicas": args.replicas}
    if args.max_replicas > args.replicas:
        scale = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=args.replicas,
                max_replicas=args.max_replicas,
                target_ongoing_requests=args.target,
                upscale_delay_s=_UPSCALE_SECONDS,
                downscale_delay_s=args.idle_seconds,
            )
        }
    options: dict[str, Any] = {"num_cpus": args.cpus, "num_gpus": args.gpus}
    if args.resource:
        options["resources"] = {args.resource: 1}
    application: ray_serve.Application = DetectorReplica.options(  # type: ignore[attr-defined]
        **scale,
        ray_actor_options=options,
        graceful_shutdown_timeout_s=args.drain_seconds,
    ).bind()
    return application


@ray_serve.deployment(
    max_ongoing_requests=_REQUESTS_AT_ONCE,
    # We log and count requests ourselves; at INFO a record of each is made and thrown away.
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)
@ray_serve.ingress()
class DetectorReplica:
    """Holds the model that was ordered (`serve.orders`), and the one that is tried beside it."""

    def __init__(self) -> None:
        settings = load_settings()
        self._settings = settings
        configure_logs(settings.log_level)
        one_write.install()  # Serve starts its server in this process when this is done
        self._slot = ModelSlot(self._load)
        self._replica = Replica(
            self._slot,
            _Siblings(),
            candidates=ModelSlot(self._load),
            name=ray_serve.get_replica_context().replica_id.unique_id,
            room=settings.replica_room,
            request_seconds=settings.request_seconds,
            stuck_seconds=settings.stuck_seconds,
        )
        self._units = open_units_of_work(settings)
        OrderFollower(self._units, self._replica.follow).start()
        # A replica that can detect takes requests, and no other, unless there is no model for it or
        # that takes too long: then it says so.
        with suppress(TimeoutError):
            self._slot.settle(_FIRST_MODEL_SECONDS)

    def __serve_build_asgi_app__(self) -> FastAPI:
        settings = self._settings
        intake = Intake(
            self._units,
            open_image_store(settings),
            open_subject_pseudonyms(settings).of,
        )
        limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        return build_api(
            self._replica,
            intake,
            limits,
            keys=open_key_gate(settings, self._units),
            detections=DetectionLog(self._units) if settings.log_detections else None,
            sets_request_id=False,
        )

    async def check_health(self) -> None:
        """Asked by Serve, which replaces the replica when this raises."""
        self._replica.check_health()

    async def status(self) -> ServiceStatus:
        return self._replica.own_status()

    async def trial(self) -> OwnTrial:
        return self._replica.own_trial()

    async def families(self) -> tuple[str, list[Metric]]:
        return self._replica.own_families()

    def _load(self, model: ModelRef) -> Engine:
        settings, metrics = self._settings, self._replica.metrics
        watch_drift(settings, model, metrics)
        # Who loads takes the cores from those who serve: they should not all do so at once.
        swaps = self._slot.has_model
        with turn(settings.run_dir / "loading.lock", _TURN_SECONDS) if swaps else nullcontext():
            return load_engine(
                settings,
                open_model_registry(settings),
                model,
                measures=not swaps,
                on_stage=metrics.engine_stage,
                on_batch=metrics.batch,
            )


class _Siblings:
    """All replicas of this deployment, through a handle to it."""

    def __init__(self) -> None:
        self._handle: DeploymentHandle[Any] | None = None

    async def statuses(self) -> Sequence[ServiceStatus]:
        found: list[ServiceStatus] = await self._ask("status")
        return found

    async def families(self) -> Sequence[tuple[str, Sequence[Metric]]]:
        found: list[tuple[str, Sequence[Metric]]] = await self._ask("families")
        return found

    async def trials(self) -> Sequence[OwnTrial]:
        found: list[OwnTrial] = await self._ask("trial")
        return found

    async def _ask(self, method: str) -> list[Any]:
        try:
            if self._handle is None:
                context = ray_serve.get_replica_context()
                # It asks the controller, and would keep the event loop from everything else.
                self._handle = await asyncio.to_thread(
                    ray_serve.get_deployment_handle, context.deployment, context.app_name
                )
            async with asyncio.timeout(_CALL_SECONDS):
                answers = await self._handle.broadcast(method).results_async()
        except (RayError, RayServeException, TimeoutError) as error:
            raise _not_all_there() from error
        if not answers:
            raise _not_all_there()
        return list(answers)


def _not_all_there() -> Unavailable:
    return Unavailable(
        "Not every replica answers.",
        hint="One that crashed is started again; secondlook status shows what runs.",
    )

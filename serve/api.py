"""The HTTP API, without Ray: what runs the model comes in as a `DetectionService`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

import anyio
from fastapi import FastAPI, Query, Request, Response

from detector.base import Pixels
from loop.errors import InvalidInput
from loop.events import now
from loop.intake import NewImage, queue_image
from loop.ports import ImageStore, UnitsOfWork
from serve import schemas
from serve.detection_log import DetectionLog, detection_event
from serve.errors import TimedOut, documented_errors, install_error_handlers
from serve.key_middleware import KeyMiddleware, document_keys
from serve.keys import ClosedGate, Gate
from serve.metrics import CONTENT_TYPE
from serve.middleware import RequestMiddleware
from serve.model_slot import no_model
from serve.request_log import note
from serve.service import Detected, DetectionService, out_of_service
from serve.uploads import Upload, read_upload
from store.image_codec import DecodedImage, Limits, SanitisedImage, decode, sanitise

_Image = TypeVar("_Image", DecodedImage, SanitisedImage)

_LONGEST_FIELD = 128
# For the description alone: what is longer is refused where form fields are too.
_SHORT: dict[str, Any] = {"maxLength": _LONGEST_FIELD}
_IMAGE_TYPES = ("image/*", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Intake:
    """Where `POST /v1/images` puts what it gets. ``pseudonym_of`` turns the subject that a client
    names into what stands in the data instead."""

    units: UnitsOfWork
    images: ImageStore
    pseudonym_of: Callable[[str], str]


def build_api(
    service: DetectionService,
    intake: Intake,
    limits: Limits,
    *,
    keys: Gate | None = None,
    detections: DetectionLog | None = None,
    sets_request_id: bool = True,
) -> FastAPI:
    """The application. ``keys`` decides who comes in: nobody, unless it is given. ``detections``
    puts on record what is detected and not stored; None leaves that out. ``sets_request_id``: see
    `RequestMiddleware`."""
    api = FastAPI(
        title="Second Look",
        description="Detects objects in images and queues them for review. A path that does not "
        "exist is answered with 404, a method that a path does not have with 405 and Allow, in the "
        "shape of every other error.",
        responses=documented_errors(500),
        version="1",
        redoc_url=None,
    )
    routes = _Routes(service, intake, limits, detections)
    install_error_handlers(api)
    document_keys(api)
    api.add_middleware(KeyMiddleware, gate=keys or ClosedGate(), check_room=service.check_room)
    # The last one is the outermost: it counts what the keys refuse, too.
    api.add_middleware(RequestMiddleware, metrics=service.metrics, sets_header=sets_request_id)
    body = {"requestBody": _request_body()}
    errors = documented_errors(413, 415, 422, 429, 503, 504)
    api.post("/v1/detect", responses=errors, openapi_extra=body)(routes.detect)
    errors |= documented_errors(409)
    api.post("/v1/images", responses=errors, openapi_extra=body)(routes.images)
    api.get("/v1/model", responses=documented_errors(503))(routes.model)
    api.get("/v1/trial", responses=documented_errors(503))(routes.trial)
    api.get("/healthz")(routes.healthz)
    api.get("/readyz", responses=documented_errors(503))(routes.readyz)
    text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    api.get("/metrics", response_class=Response, responses=text)(routes.metrics)
    return api


class _Routes:
    def __init__(
        self,
        service: DetectionService,
        intake: Intake,
        limits: Limits,
        detections: DetectionLog | None,
    ) -> None:
        self._service = service
        self._intake = intake
        self._limits = limits
        self._metrics = service.metrics
        self._detections = detections

    async def detect(self, request: Request) -> schemas.Detections:
        """Detect objects in an image, which is not stored."""
        async with self._in_time():
            began = now()
            upload = await self._read(request)
            image, detected = await self._decode_and_detect(decode, upload.data)
            await self._put_on_record(request, detected, image, began)
        return schemas.Detections(
            model=schemas.Model(**detected.model.as_dict()),
            width=image.width,
            height=image.height,
            detections=schemas.detections_out(detected),
        )

    async def images(
        self,
        request: Request,
        subject: Annotated[
            str,
            Query(
                description="who or what the image shows; stored as a pseudonym",
                json_schema_extra=_SHORT,
            ),
        ] = "",
        source: Annotated[
            str, Query(description="where the image comes from", json_schema_extra=_SHORT)
        ] = "",
    ) -> schemas.QueuedImage:
        """Detect objects in an image, store it without metadata, and queue it for review.

        An image without a subject is a subject of its own.
        """
        async with self._in_time():
            upload = await self._read(request)
            subject = _field(upload, "subject", subject)
            source = _field(upload, "source", source) or "upload"
            image, detected = await self._decode_and_detect(sanitise, upload.data)
        new = NewImage(
            data=image.data,
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            subject=self._intake.pseudonym_of(subject),
            source=source,
            phash=image.phash,
        )
        queued = await anyio.to_thread.run_sync(
            partial(
                queue_image,
                self._intake.units,
                self._intake.images,
                new,
                model=detected.model,
                detections=detected.detections,
                actor=request.state.actor,
                request_id=request.state.request_id,
            )
        )
        kept = Detected(detected.model, detected.classes, queued.detections)
        return schemas.QueuedImage(
            model=schemas.Model(**detected.model.as_dict()),
            width=image.width,
            height=image.height,
            detections=schemas.detections_out(kept),
            image_id=queued.image_id,
            prediction_id=queued.prediction_id,
            review_id=queued.review_id,
        )

    async def model(self) -> schemas.ModelState:
        """Which model serves, and what became of the last swap."""
        return schemas.ModelState.model_validate((await self._service.status()).as_dict())

    async def trial(self) -> schemas.TrialCounts:
        """What was counted of the candidate that is tried beside the model in service, or of the
        last one that was."""
        found = await self._service.trials()
        return schemas.TrialCounts.model_validate({"trials": found})

    async def healthz(self) -> schemas.Health:
        """The API answers. Says nothing about the model."""
        return schemas.Health(status="ok")

    async def readyz(self) -> schemas.Health:
        """This replica has a model that has detected, and the stop switch is off."""
        status = self._service.own_status()
        if status.stopped is not None:
            raise out_of_service(status.stopped)
        if status.model is None:
            raise no_model(status)
        return schemas.Health(status="ready")

    async def metrics(self) -> Response:
        """Requests, latency, queue, detections and the model version of every replica, for
        Prometheus."""
        return Response(await self._service.exposition(), media_type=CONTENT_TYPE)

    async def _put_on_record(
        self, request: Request, detected: Detected, image: DecodedImage, began: str
    ) -> None:
        if self._detections is None:
            return
        state = request.state
        event = detection_event(
            detected,
            image.width,
            image.height,
            actor=state.actor,
            request_id=state.request_id,
            started=began,
        )
        asked = time.perf_counter()
        await self._detections.record(event)
        self._metrics.stage("log", time.perf_counter() - asked)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        limit = self._service.request_seconds
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            self._metrics.timed_out()
            raise TimedOut(
                f"The image was not worked off within {limit:g} s.",
                hint="Send it again, or a smaller one.",
            ) from None

    async def _read(self, request: Request) -> Upload:
        begun = time.perf_counter()
        upload = await read_upload(request, self._limits.max_bytes)
        self._metrics.stage("read", time.perf_counter() - begun)
        return upload

    async def _decode_and_detect(
        self, decoder: Callable[[bytes, Limits], _Image], data: bytes
    ) -> tuple[_Image, Detected]:
        upload = _Waiting(decoder, data, self._limits)
        with self._service.admitted():
            asked = time.perf_counter()
            detected = await self._service.detect(upload.decode, data)
            answered = time.perf_counter()
        self._metrics.stage("queue", upload.begun - asked)
        self._metrics.stage("decode", upload.ended - upload.begun)
        self._metrics.stage("detect", answered - upload.ended)
        self._metrics.detected(detected)
        note(model=detected.model.version, detections=len(detected.detections))
        return upload.image, detected


class _Waiting(Generic[_Image]):
    """An upload that is decoded when the engine gets to it: those that wait take no more memory
    than the bytes they were sent as. Times are of `time.perf_counter`, in seconds."""

    image: _Image

    def __init__(
        self, decoder: Callable[[bytes, Limits], _Image], data: bytes, limits: Limits
    ) -> None:
        self._decode: Callable[[], _Image] = partial(decoder, data, limits)
        self.begun = self.ended = 0.0

    def decode(self) -> Pixels:
        self.begun = time.perf_counter()
        self.image = self._decode()
        self.ended = time.perf_counter()
        return self.image.pixels


def _field(upload: Upload, name: str, in_query: str) -> str:
    value = upload.fields.get(name) or in_query
    if len(value) > _LONGEST_FIELD or not value.isprintable():
        raise InvalidInput(
            f"The {name} is longer than {_LONGEST_FIELD} characters or not plain text.",
            hint=f"Send a short {name}, or none.",
            code="invalid_field",
        )
    return value.strip()


def _request_body() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    text = {"type": "string", "maxLength": _LONGEST_FIELD}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": binary["schema"], "subject": text, "source": text},
    }
    raw = dict.fromkeys(_IMAGE_TYPES, binary)
    return {"required": True, "content": {**raw, "multipart/form-data": {"schema": form}}}

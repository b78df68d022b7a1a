"""``POST /desk/uploads``: an image from somebody who is signed in, on its way to the API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import httpx
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from loop.access import Permission, Person
from loop.errors import InvalidImage, TooLarge
from loop.events import Actor, Event, new_id
from loop.ports import UnitsOfWork
from store.image_codec import Limits
from ui.detection import Queued, queue
from ui.routes.bodies import limited

_FORM = "multipart/form-data"
# Boundaries, part headers and the subject, on top of the image.
_FORM_OVERHEAD_BYTES = 64 * 1024
# As nginx logs it: whoever asked has gone, and nobody reads the answer.
NOBODY_LISTENS = 499


def router(
    *,
    client: httpx.AsyncClient,
    limits: Limits,
    units: UnitsOfWork,
    person_of: Callable[[Request], Person],
) -> APIRouter:
    """``client`` has the API's address as its base URL."""
    routes = APIRouter()
    uploads = _Uploads(client, limits, units, person_of)
    routes.get("/desk/uploads")(uploads.limits)
    routes.post("/desk/uploads", response_model=None)(uploads.upload)
    return routes


class _Uploads:
    def __init__(
        self,
        client: httpx.AsyncClient,
        limits: Limits,
        units: UnitsOfWork,
        person_of: Callable[[Request], Person],
    ) -> None:
        self._client = client
        self._limits = limits
        self._units = units
        self._person_of = person_of

    async def limits(self, request: Request) -> dict[str, int]:
        """What need not be sent at all: images of more than ``max_bytes``."""
        self._person_of(request).acting(Permission.SUBMIT_IMAGES)
        return {"max_bytes": self._limits.max_bytes}

    async def upload(self, request: Request, response: Response) -> dict[str, Any] | Response:
        """The form goes to the API as it came: what is in it is judged there, once."""
        actor = self._person_of(request).acting(Permission.SUBMIT_IMAGES)
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != _FORM:
            raise InvalidImage(
                f"An upload is a form, {_FORM}, with the file in its field `image`.",
                hint="Reload the page: it may be older than the server.",
                code="unsupported_media_type",
            )
        try:
            form = await self._read(request)
        except ClientDisconnect:
            return Response(status_code=NOBODY_LISTENS)
        request_id = new_id()
        queued = await queue(self._client, form, content_type, request_id)
        # Should this fail, so does the upload: sent again, the image finds the case that it has.
        await anyio.to_thread.run_sync(partial(self._record, queued, actor, request_id))
        response.headers["x-request-id"] = request_id
        return queued.as_dict()

    async def _read(self, request: Request) -> bytes:
        max_bytes = self._limits.max_bytes
        too_large = TooLarge(
            f"The image is larger than {max_bytes / 2**20:.1f} MiB.",
            hint="Send a smaller image, or have SECONDLOOK_MAX_IMAGE_BYTES raised.",
            code="too_many_bytes",
        )
        form = bytearray()
        async for piece in limited(request, max_bytes + _FORM_OVERHEAD_BYTES, too_large):
            form += piece
        return bytes(form)

    def _record(self, queued: Queued, actor: Actor, request_id: str) -> None:
        with self._units() as uow:
            uow.record(
                Event(
                    type="image.uploaded",
                    actor=actor,
                    subject={"image_id": queued.image_id, "review_id": queued.review_id},
                    details={"detections": queued.detections},
                    request_id=request_id,
                )
            )
            uow.commit()

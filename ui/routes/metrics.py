"""What Prometheus reads from the app: behind an API key, since Prometheus does not sign in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection

from loop.api_keys import Scope
from loop.errors import InvalidKey, LoopError, NotAllowed, RateLimited
from loop.events import Actor
from ui.gate import METRICS

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REALM = 'Bearer realm="Second Look"'


class Admits(Protocol):
    """The gate of the detection API: its keys are good here too."""

    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        """Raises `InvalidKey`, `NotAllowed`, `RateLimited` or `Unavailable`."""


@dataclass(frozen=True, slots=True)
class MetricsRoute:
    """``text`` gives the metrics in Prometheus' text format; it is called in a thread."""

    gate: Admits
    text: Callable[[], bytes]

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route(METRICS, self._metrics, methods=["GET"])
        return router

    async def _metrics(self, request: Request) -> Response:
        try:
            await self.gate.admit(request, Scope.METRICS)
        except (InvalidKey, NotAllowed, RateLimited) as error:
            return JSONResponse({"error": error.as_dict()}, error.http_status, _headers(error))
        text = await anyio.to_thread.run_sync(self.text)
        return Response(text, media_type=_CONTENT_TYPE)


def _headers(error: LoopError) -> dict[str, str]:
    if isinstance(error, RateLimited):
        return {"retry-after": str(max(1, math.ceil(error.retry_after_seconds)))}
    return {"www-authenticate": _REALM}

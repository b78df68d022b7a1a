"""Around every request: its id, its measurements, and the last net for errors."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loop.events import new_id
from serve.metrics import Metrics
from serve.schemas import error_body

_log = structlog.get_logger(__name__)

# It goes into logs and audit events, so nothing but what ids are made of.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
REQUEST_ID_HEADER = "x-request-id"


class RequestMiddleware:
    """Puts ``request_id`` into the request's state, counts and times, and turns what nobody
    caught into a 500 without a stack trace in it. ``sets_header`` is False where the server in
    front puts X-Request-Id on the answer, as Ray Serve's proxy does."""

    def __init__(self, app: ASGIApp, metrics: Metrics, sets_header: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._sets_header = sets_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = accepted_request_id(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.perf_counter()
        code = 0

        async def send_on(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if self._sets_header:
                    MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            code = code or 499  # as nginx counts it: there is nobody left to answer
        except Exception:
            _log.exception("request.failed", request_id=request_id, path=scope["path"])
            if code:
                raise  # the answer has begun; cutting it off is all that is left
            await internal_error(request_id)(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request(route, scope["method"], code, time.perf_counter() - begun)


def accepted_request_id(sent: str) -> str:
    """The id the client sent if it is one, else a new one."""
    return sent if _REQUEST_ID.fullmatch(sent) else new_id()


def internal_error(request_id: str) -> JSONResponse:
    body = error_body(
        "internal",
        "Something went wrong on our side.",
        f"Look for request {request_id} in the log of the API.",
        request_id=request_id,
    )
    return JSONResponse(body, status_code=500)

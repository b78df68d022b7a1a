"""Around every request: its id, its measurements, its line in the log, the last net for errors."""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import request_log
from serve.metrics import Metrics
from serve.request_ids import REQUEST_ID_HEADER, accepted_request_id
from serve.schemas import error_body

_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Puts ``request_id`` into the request's state, counts, times and logs, and turns what nobody
    caught into a 500 without a stack trace in it. ``sets_header`` is False where the server in
    front puts X-Request-Id on the answer, as Ray Serve does (`serve.request_ids`)."""

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
        request_log.begin(request_id)
        begun = time.perf_counter()
        code = bytes_in = 0

        async def receive_on() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def send_on(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if self._sets_header:
                    MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive_on, send_on)
        except ClientDisconnect:
            code = code or 499  # as nginx counts it: there is nobody left to answer
            request_log.note(error="client_left")
        except Exception:
            _log.exception("request.failed")
            if code:
                raise  # the answer has begun; cutting it off is all that is left
            await internal_error(request_id)(scope, receive, send_on)
        finally:
            seconds = time.perf_counter() - begun
            route = scope["state"].get("route", "unknown")  # `serve.key_middleware` knows it
            self._metrics.request(route, scope["method"], code, seconds)
            request_log.end(scope["method"], scope["path"], code, seconds, bytes_in)


def internal_error(request_id: str) -> JSONResponse:
    request_log.note(error="internal")
    body = error_body(
        "internal",
        "Something went wrong on our side.",
        f"Look for request {request_id} in the log of the API.",
        request_id=request_id,
    )
    return JSONResponse(body, status_code=500)

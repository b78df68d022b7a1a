"""Asks for a key, and whether there is room, before anything of a request's body is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from loop.api_keys import Scope
from loop.errors import InvalidKey, LoopError, NotAllowed
from serve import request_log
from serve.errors import SHOWN, documented_errors, retry_after
from serve.keys import Gate
from serve.schemas import error_body

# Health is for load balancers; the docs say how to use a key, and nothing about this service.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json"})
SCOPES = {
    "/v1/detect": Scope.DETECT,
    "/v1/images": Scope.QUEUE,
    "/v1/model": Scope.MODEL,
    "/v1/trial": Scope.MODEL,
    "/metrics": Scope.METRICS,
}
# What an image comes with. Who is sent away for want of room must cost next to nothing, or those
# who are let in wait for that.
_WORK = (Scope.DETECT, Scope.QUEUE)
_REALM = 'Bearer realm="Second Look"'
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, `sl_…`; X-API-Key takes it too. An admin makes one: "
    "`secondlook users token create`.",
}


class KeyMiddleware:
    """Puts ``actor`` into the request's state. A path that is in neither list above does not
    exist, so that nothing is open, or in reach of every key, because it was forgotten there.
    ``check_room`` raises `serve.admission.Busy`."""

    def __init__(self, app: ASGIApp, gate: Gate, check_room: Callable[[], None]) -> None:
        self._app = app
        self._gate = gate
        self._check_room = check_room

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path in SCOPES or path in OPEN_PATHS:
            scope.setdefault("state", {})["route"] = path
            request_log.note(route=path)
        if scope["type"] == "lifespan" or path in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        connection = HTTPConnection(scope)
        needed = SCOPES.get(path)
        try:
            actor = await self._gate.admit(connection, needed)
            if needed in _WORK and scope["method"] == "POST":
                self._check_room()
        except LoopError as error:
            if error.http_status >= 500 and error.http_status not in SHOWN:
                raise
            request_log.note(error=error.detail_code)
            await _refusal(error, connection, needed)(scope, receive, send)
            return
        request_log.note(key=actor.pseudonym)
        if needed is None:
            request_log.note(error="not_found")
            await _not_there(path)(scope, receive, send)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)


def document_keys(api: FastAPI) -> None:
    """Say in the OpenAPI document which paths need a key, and what happens without one."""
    plain: Callable[[], dict[str, Any]] = api.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["securitySchemes"] = {"ApiKey": _SCHEME}
        error = {"$ref": "#/components/schemas/ErrorBody"}
        content = {"application/json": {"schema": error}}
        for path in SCOPES.keys() & document["paths"].keys():
            for operation in document["paths"][path].values():
                operation["security"] = [{"ApiKey": []}]
                for status, said in documented_errors(401, 403, 429).items():
                    answer = {"description": said["description"], "content": content}
                    operation["responses"].setdefault(str(status), answer)
        return document

    api.openapi = openapi  # type: ignore[method-assign]


def _refusal(error: LoopError, connection: HTTPConnection, needed: Scope | None) -> JSONResponse:
    headers = retry_after(error)
    if isinstance(error, InvalidKey):
        # RFC 6750, section 3: no error code where nothing was sent.
        wrong = "" if error.detail_code == "no_key" else ', error="invalid_token"'
        headers["www-authenticate"] = f"{_REALM}{wrong}"
    elif isinstance(error, NotAllowed):
        headers["www-authenticate"] = f'{_REALM}, error="insufficient_scope", scope="{needed}"'
    if "transfer-encoding" in connection.headers:
        headers["connection"] = "close"  # what comes has no end that is known: do not wait for it
    return JSONResponse({"error": error.as_dict()}, error.http_status, headers)


def _not_there(path: str) -> JSONResponse:
    there = ", ".join([*SCOPES, *sorted(OPEN_PATHS)])
    body = error_body("not_found", f"There is no {path[:200]}.", f"There are: {there}.")
    return JSONResponse(body, 404)

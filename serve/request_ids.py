"""What an id of a request may look like, for us and for the servers in front of us."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from loop.events import new_id

REQUEST_ID_HEADER = "x-request-id"
# It goes into logs and audit events, so nothing but what ids are made of.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def accepted_request_id(sent: str) -> str:
    """The id the client sent if it is one, else a new one."""
    return sent if _REQUEST_ID.fullmatch(sent) else new_id()


class OneRequestId:
    """Puts the id of a request that has none, or something else in its place, into its headers.

    Ray Serve puts whatever stands there on the answer, and our API is not asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = MutableHeaders(scope=scope)
            headers[REQUEST_ID_HEADER] = accepted_request_id(headers.get(REQUEST_ID_HEADER, ""))
        await self._app(scope, receive, send)


# For the processes of Serve, set before Ray starts.
ENVIRONMENT = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.request_ids:middlewares"}


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around its own, in replicas and in its proxy."""
    return [Middleware(OneRequestId)]

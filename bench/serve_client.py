"""One keep-alive HTTP/1.1 connection that costs next to nothing: the load generator's client.

A client library spends a millisecond of CPU on a request, which on a small machine is taken from
the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools

OK, TOO_MANY = 200, 429
_NO_ANSWER = "the connection was closed without an answer"
_CUT = "the connection was closed in the middle of an answer"
NOT_CONNECTED = "the connection was refused"
_LONGEST_SAID = 200
# Of the answer of `POST /v1/detect`: which version made it.
_VERSION = b'"version":'


@dataclass(frozen=True, slots=True)
class Answer:
    """``due`` and ``done`` are seconds on the clock of the event loop; ``status`` 0 is no answer.

    ``due`` is when the request should have been sent, ``sent`` when it was. ``said`` is what an
    answer other than 200 and 429 said, or how the connection ended without one.
    """

    status: int
    due: float
    sent: float
    done: float
    version: str = ""
    retry_after: bool = False
    said: str = ""


def request_bytes(host: str, path: str, body: bytes, key: str = "") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(body)}",
    ]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Client(asyncio.Protocol):
    """Sends one request at a time. ``answered`` is called with each answer, also with status 0 for
    a request whose connection broke."""

    def __init__(self, answered: Callable[[Client, Answer], None], *, versions: bool) -> None:
        self._answered = answered
        self._versions = versions
        self._clock = asyncio.get_running_loop().time
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._due = self.sent = 0.0
        self.busy = False
        self._body = bytearray()
        self._retry_after = False
        self._begun = False

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, due: float) -> None:
        if self._transport is None or self.busy:
            raise RuntimeError("The connection is closed or busy.")
        self._due, self.sent, self.busy = due, self._clock(), True
        self._retry_after = self._begun = False
        self._body.clear()
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a TCP connection

    def data_received(self, data: bytes) -> None:
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        if self.busy:
            self._finish(0)

    def on_header(self, name: bytes, value: bytes) -> None:
        del value
        if name.lower() == b"retry-after":
            self._retry_after = True

    def on_body(self, body: bytes) -> None:
        if self._versions or self._parser.get_status_code() not in (OK, TOO_MANY):
            self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._finish(status)

    def _finish(self, status: int) -> None:
        self.busy = False
        version = _version(self._body) if self._versions and status == OK else ""
        said = "" if status in (OK, TOO_MANY) else self._said(status)
        done = self._clock()
        self._answered(
            self, Answer(status, self._due, self.sent, done, version, self._retry_after, said)
        )

    def _said(self, status: int) -> str:
        if not status:
            return _CUT if self._begun else _NO_ANSWER
        text = bytes(self._body).decode("utf-8", errors="replace")
        try:
            error = json.loads(text)["error"]
            text = f"{error['code']}: {error['message']}"
        except (ValueError, KeyError, TypeError):
            pass
        return f"{status} {text}".strip()[:_LONGEST_SAID]


def _version(body: bytearray) -> str:
    if _VERSION not in body:
        return ""
    model = json.loads(body).get("model") or {}
    return str(model.get("version", ""))

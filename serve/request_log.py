"""One line of the log a request. It may not hold content, subjects, secrets or addresses.

What is noted of a request while it is handled stands in its last line, and in every line that is
written on the way, in threads and tasks that it starts too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Load balancers ask them every second, and would be most of the log.
_PROBES = frozenset({"/healthz", "/readyz"})

_log = structlog.get_logger(__name__)


def begin(request_id: str) -> None:
    clear_contextvars()  # a connection may serve one request after the other in one context
    bind_contextvars(request_id=request_id, route="unknown")


def note(**fields: Any) -> None:
    """For the lines of this request from now on: numbers, ids and codes. ``route`` is one of our
    paths, never whatever a client asked for."""
    bind_contextvars(**fields)


def end(method: str, path: str, status: int, seconds: float, bytes_in: int) -> None:
    """The level is ERROR for failures, WARNING for what was refused, INFO for the rest, and DEBUG
    for probes that are answered; ``path`` tells those, and is not written."""
    if status >= 500:
        write = _log.error
    elif status >= 400:
        write = _log.warning
    elif path in _PROBES:
        write = _log.debug
    else:
        write = _log.info
    with suppress(OSError):  # a full disk does not undo an answer
        write(
            "request",
            method=method if method in _METHODS else "OTHER",
            status=status,
            seconds=round(seconds, 4),
            bytes_in=bytes_in,
        )

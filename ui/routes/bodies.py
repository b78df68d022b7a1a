"""Bodies of requests: never more bytes of one than allowed, and none that takes for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request

from loop.errors import InvalidInput, LoopError

# Between two pieces of a body. A line that gives nothing for this long has gone away.
STALLED_SECONDS = 60.0


async def limited(
    request: Request,
    max_bytes: int,
    too_large: LoopError,
    stalled_seconds: float = STALLED_SECONDS,
) -> AsyncIterator[bytes]:
    """The body piece by piece; ``too_large`` is raised for more than ``max_bytes``, whatever
    Content-Length says. Raises `InvalidInput` when nothing comes, and Starlette's
    `ClientDisconnect` when whoever sends it has gone."""
    promised = request.headers.get("content-length", "")
    if promised.isdecimal() and int(promised[:20]) > max_bytes:
        raise too_large
    received = 0
    body = request.stream()
    while True:
        try:
            with anyio.fail_after(stalled_seconds):
                piece = await anext(body, None)
        except TimeoutError as error:
            raise InvalidInput(
                "The upload came to a standstill.",
                hint="Check the connection, then try again.",
                code="incomplete_upload",
            ) from error
        if piece is None:
            return
        received += len(piece)
        if received > max_bytes:
            raise too_large
        if piece:
            yield piece

"""An answer's head and body in one write to the socket, instead of two.

uvicorn writes the head as soon as an application begins to answer. A replica that is killed just
after that leaves a client with half an answer, which no proxy can ask another replica for any
more; and two writes cost two system calls here and two rounds in the proxy.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's, on a transport that waits with writing until the application lets go."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport)))


class GatheringTransport:
    """A transport whose writes within one turn of the event loop go out as one."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        # What is closed before its turn has lost its client: there is nobody to write to.
        if self._waiting and not self._transport.is_closing():
            data, self._waiting = b"".join(self._waiting), []
            self._transport.write(data)


def install() -> None:
    """Have every uvicorn server that this process starts from now on use it."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{OneWriteProtocol.__name__}"

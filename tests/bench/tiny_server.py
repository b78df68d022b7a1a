"""A server of a few lines, which answers what it is told, as late as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

REASONS = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass
class TinyServer:
    """``statuses`` are given in turn; 0 closes the connection without an answer, and ``cut`` closes
    it after the answer's head. At most ``slots``
    requests are worked on at once, each for ``delay`` seconds."""

    statuses: tuple[int, ...] = (200,)
    delay: float = 0.0
    slots: int = 1000
    close: bool = False
    cut: bool = False
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                status = self.statuses[(len(self.requests) - 1) % len(self.statuses)]
                async with self._working:
                    await asyncio.sleep(self.delay)
                if not status:
                    return
                answer = self._answer(status)
                writer.write(answer.partition(b"{")[0] if self.cut else answer)
                if self.close or self.cut:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, status: int) -> bytes:
        content: dict[str, object] = {"model": {"version": str(1 + len(self.requests) % 2)}}
        if status == 500:
            content = {"error": {"code": "no_luck", "message": "It went wrong."}}
        body = json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", f"Content-Length: {len(body)}"]
        lines += ["Retry-After: 1"] if status == 429 else []
        lines += ["Connection: close"] if self.close else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def prepare(self) -> None:
        self._working = asyncio.Semaphore(self.slots)


@asynccontextmanager
async def serving(tiny: TinyServer) -> AsyncIterator[TinyServer]:
    tiny.prepare()
    server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0)
    tiny.port = server.sockets[0].getsockname()[1]
    try:
        yield tiny
    finally:
        server.close()

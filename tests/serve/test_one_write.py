from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
import uvicorn.config

from serve import one_write
from serve.one_write import GatheringTransport


class Socket:
    """An `asyncio.Transport` that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told


def run(steps: Any) -> list[bytes | str]:
    socket = Socket()

    async def all_steps() -> None:
        await steps(GatheringTransport(socket))  # type: ignore[arg-type]

    asyncio.run(all_steps())
    return socket.told


def test_what_is_written_in_one_turn_goes_out_as_one() -> None:
    async def steps(transport: GatheringTransport) -> None:
        transport.write(b"head")
        transport.write(b"body")
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)

    assert run(steps) == [b"headbody", b"next"]


def test_nothing_is_lost_when_it_is_closed() -> None:
    async def steps(transport: GatheringTransport) -> None:
        transport.write(b"head")
        transport.write(b"body")
        transport.close()
        await asyncio.sleep(0)

    assert run(steps) == [b"headbody", "close"]


def test_nothing_is_written_for_a_client_that_has_hung_up() -> None:
    async def steps(transport: GatheringTransport) -> None:
        transport.write(b"head")
        transport._transport.close()
        await asyncio.sleep(0)

    assert run(steps) == ["close"]


def test_all_else_is_the_transports_own() -> None:
    async def steps(transport: GatheringTransport) -> None:
        assert transport.is_closing() is False

    assert run(steps) == []


def test_a_server_answers_with_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    class Noted(GatheringTransport):
        def __init__(self, transport: asyncio.Transport) -> None:
            super().__init__(transport)
            written = transport.write

            class Socket:
                def write(self, data: bytes) -> None:
                    writes.append(data)
                    written(data)

                def __getattr__(self, name: str) -> Any:
                    return getattr(transport, name)

            self._transport = Socket()  # type: ignore[assignment]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"ok"})

    async def ask() -> bytes:
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, lifespan="off", log_level="error", log_config=None)
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.should_exit = True
        await serving
        return answer

    monkeypatch.setattr(one_write, "GatheringTransport", Noted)
    monkeypatch.setattr(
        uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS), raising=True
    )
    one_write.install()
    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok")
    assert writes == [answer]

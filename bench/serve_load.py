"""``python -m bench.serve_load``: a load generator in a process of its own.

Reads one line of JSON (`Plan`) and writes lines of JSON: ``{"event": "begin"}`` after the warm-up,
``"progress"`` if asked for, ``"end"``, and ``"result"``. A line on stdin, or its end, ends the load
early. The key, if any, is in ``SECONDLOOK_API_KEY``.

Closed loop: each of ``clients`` sends its next request when it has its answer. Open loop
(``rate``): requests are due at random (Poisson) whatever the server does.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from bench.serve_client import NOT_CONNECTED, Answer, Client, request_bytes
from bench.serve_tally import Tally

# A file descriptor each; more would be refused rather than wait.
_MOST_CONNECTIONS = 768
_RECONNECT_SECONDS = 0.05
_SWEEP_SECONDS = 0.25

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` (requests a second) makes it an open loop. ``requests`` ends it after so many,
    ``seconds`` after so long; ``every`` so many there is a progress event. ``cores`` are what it
    may run on; empty: all."""

    host: str
    port: int
    path: str
    images: tuple[str, ...]
    clients: int = 1
    seconds: float = 10.0
    warmup: float = 2.0
    rate: float | None = None
    requests: int | None = None
    every: int | None = None
    timeout: float = 60.0
    versions: bool = False
    seed: int = 0
    cores: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw = json.loads(text)
        return cls(**raw | {"images": tuple(raw["images"]), "cores": tuple(raw["cores"])})


async def generate(plan: Plan, emit: Emit, stop: asyncio.Event, key: str = "") -> None:
    """Apply the load; ``stop`` ends it early."""
    requests = [
        request_bytes(plan.host, plan.path, Path(image).read_bytes(), key) for image in plan.images
    ]
    load = _Load(plan, requests, emit, stop)
    sweeper = asyncio.create_task(load.sweep())
    try:
        await (load.closed() if plan.rate is None else load.open(plan.rate))
    finally:
        sweeper.cancel()
        load.close()
    emit({"event": "result", **load.tally.result()})


class _Load:
    def __init__(self, plan: Plan, requests: list[bytes], emit: Emit, stop: asyncio.Event) -> None:
        self.tally = Tally()
        self._plan = plan
        self._requests = requests
        self._emit = emit
        self._stop = stop
        self._clock = asyncio.get_running_loop().time
        self._next = 0
        self._clients: set[Client] = set()
        self._idle: list[Client] = []
        self._background: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._window = (float("inf"), float("inf"))

    async def closed(self) -> None:
        for _ in range(self._plan.clients):
            self._in_background(self._connect(self._answered_closed))
        await asyncio.sleep(self._plan.warmup)
        self._begin()
        await self._until_over()
        self._end()

    async def open(self, rate: float) -> None:
        """Requests due before the window are its warm-up, and their answers do not count."""
        rng = random.Random(self._plan.seed)  # noqa: S311  # arrivals, no secrets
        due = self._clock()
        self._window = (due + self._plan.warmup, due + self._plan.warmup + self._plan.seconds)
        while due < self._window[1] and not self._stop.is_set():
            if due >= self._window[0] and not self.tally.counting:
                self._begin()
            wait = due - self._clock()
            if wait > 0:
                await asyncio.sleep(wait)
            self._send_open(due)
            due += rng.expovariate(rate)
        self._end()
        patience = self._clock() + self._plan.timeout
        while (self._waiting or self._busy()) and self._clock() < patience:
            await asyncio.sleep(_SWEEP_SECONDS)
        for due, _ in self._waiting:
            if due >= self._window[0]:
                self._count(Answer(0, due, due, self._clock()))

    async def sweep(self) -> None:
        """Give up on requests that are older than the timeout."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            oldest = self._clock() - self._plan.timeout
            for client in [each for each in self._clients if each.busy and each.sent < oldest]:
                client.abort()

    def close(self) -> None:
        for task in self._background:
            task.cancel()
        for client in self._clients:
            client.abort()

    def _begin(self) -> None:
        self.tally.begin(self._clock())
        self._emit({"event": "begin"})

    def _end(self) -> None:
        self.tally.end(self._clock())
        self._emit({"event": "end"})

    async def _until_over(self) -> None:
        seconds = None if self._plan.requests else self._plan.seconds
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def _answered_closed(self, client: Client, answer: Answer) -> None:
        if self.tally.counting:
            self._count(answer)
        elif self._stop.is_set():
            return
        if client.open:
            client.send(self._request(), self._clock())
        else:
            self._reconnect(client, self._answered_closed)

    def _count(self, answer: Answer) -> None:
        self.tally.add(answer)
        plan, answers = self._plan, self.tally.answers
        if plan.every and answers % plan.every == 0:
            self._emit({"event": "progress", "requests": answers})
        if plan.requests and answers >= plan.requests:
            self.tally.counting = False
            self._stop.set()

    def _send_open(self, due: float) -> None:
        request = self._request()
        while self._idle:
            client = self._idle.pop()
            if client.open:
                client.send(request, due)
                return
            self._clients.discard(client)
        self._waiting.append((due, request))
        if len(self._clients) + len(self._background) < _MOST_CONNECTIONS:
            self._in_background(self._connect(self._answered_open))

    def _answered_open(self, client: Client, answer: Answer) -> None:
        if self._window[0] <= answer.due < self._window[1]:
            self._count(answer)
        if not client.open:
            self._clients.discard(client)
            if self._waiting:
                self._in_background(self._connect(self._answered_open))
        else:
            self._use(client)

    def _use(self, client: Client) -> None:
        if self._waiting:
            due, request = self._waiting.popleft()
            client.send(request, due)
        else:
            self._idle.append(client)

    async def _connect(self, answered: Callable[[Client, Answer], None]) -> None:
        plan, loop = self._plan, asyncio.get_running_loop()
        while True:
            begun = self._clock()
            try:
                _, client = await loop.create_connection(
                    lambda: Client(answered, versions=plan.versions), plan.host, plan.port
                )
            except OSError:
                # In a closed loop a refused connection is a request that failed; in an open one
                # the request waits on, and that counts.
                if plan.rate is None and self.tally.counting:
                    self._count(Answer(0, begun, begun, self._clock(), said=NOT_CONNECTED))
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            break
        self._clients.add(client)
        if plan.rate is None:
            client.send(self._request(), self._clock())
        else:
            self._use(client)

    def _reconnect(self, client: Client, answered: Callable[[Client, Answer], None]) -> None:
        self._clients.discard(client)
        self._in_background(self._connect(answered))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _busy(self) -> bool:
        return any(client.busy for client in self._clients)

    def _request(self) -> bytes:
        self._next += 1
        return self._requests[self._next % len(self._requests)]


def main() -> None:
    plan = Plan.from_json(sys.stdin.readline())
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(plan))


async def _run(plan: Plan) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), on_input)
    await generate(plan, _print, stop, os.environ.get("SECONDLOOK_API_KEY", ""))


def _print(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""What the audit log adds to a `POST /v1/images`: the second half of `bench.audit`."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import HTTPConnection

from bench.serve_process import say
from bench.serve_product import enter_home
from bench.serve_settings import choose_images
from bench.serve_versions import register
from detector.checkpoint import read_checkpoint
from loop.api_keys import Scope
from loop.events import Actor, Authentication, Event, Role
from loop.ports import UnitOfWork, UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from serve.api import Intake, build_api
from serve.loading import load_engine
from serve.model_slot import ModelSlot
from serve.replica import Replica
from serve.service import ServiceStatus
from store.image_codec import Limits
from store.image_store import open_image_store
from store.logs import configure_logs
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

# Logged and not logged take turns, so that what else the machine does falls on both.
_BLOCK = 10
_WARM_UP = 20
_SEQUENCER = """
import threading
from store.audit_log import open_audit_log
from store.sequencer import Sequencer
from store.settings import load_settings
Sequencer(open_audit_log(load_settings())).run(threading.Event())
"""


def request_overhead(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """In process, without Ray and HTTP: what a request takes there, and what share of it the log
    adds. The log's files are written by another process, as in `secondlook up`."""
    configure_logs("WARNING")  # not a line a request into what is printed
    say("registering a model")
    enter_home(folder / "home", arguments.device)
    size = read_checkpoint(arguments.weights, folder / "ultralytics").image_size
    files, _, _ = choose_images(arguments.data, arguments.images, size, 32)
    model = register(arguments.weights.absolute(), CHAMPION)
    images = list(_different(files, arguments.requests + 2 * _WARM_UP))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with _sequencer(), _clients(model) as clients:
        say(f"posting {len(images)} images")
        for number, image in enumerate(images):
            logged = number // _BLOCK % 2 == 0
            began = time.perf_counter()
            answer = clients[logged].post("/v1/images", content=image)
            taken = time.perf_counter() - began
            if answer.status_code != 200:
                raise SystemExit(f"The API answered {answer.status_code}: {answer.text}")
            if number >= 2 * _WARM_UP:
                seconds[logged].append(taken)
    with_log, without = median(seconds[True]), median(seconds[False])
    return {
        "request_ms": with_log * 1000,
        "request_without_log_ms": without * 1000,
        "request_overhead": with_log / without - 1,
    }


def _different(files: tuple[Path, ...], count: int) -> Iterator[bytes]:
    """So many images, no two alike: one that waits for review is not stored again."""
    random = np.random.default_rng(1)
    for number in range(count):
        with Image.open(files[number % len(files)]) as opened:
            pixels = np.asarray(opened.convert("RGB")).copy()
        pixels[:8, :8] = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=92)
        yield out.getvalue()


@contextmanager
def _sequencer() -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-c", _SEQUENCER])
    try:
        yield
    finally:
        child.terminate()
        child.wait()


@contextmanager
def _clients(model: ModelRef) -> Iterator[dict[bool, TestClient]]:
    """Of two APIs with one replica: the one that logs, and one that does not."""
    settings = load_settings()
    registry = open_model_registry(settings)
    slot = ModelSlot(lambda ref: load_engine(settings, registry, ref, measures=False))
    replica = Replica(
        slot,
        _Alone(),
        candidates=ModelSlot(lambda ref: load_engine(settings, registry, ref, measures=False)),
        name="bench",
        room=0,
        request_seconds=settings.request_seconds,
        stuck_seconds=settings.stuck_seconds,
    )
    slot.ask_for(model)
    slot.settle(120)
    units, images = open_units_of_work(settings), open_image_store(settings)
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    made = {
        logged: TestClient(
            build_api(
                replica,
                Intake(units if logged else _unlogged(units), images, lambda subject: subject),
                limits,
                keys=_Open(),
            )
        )
        for logged in (True, False)
    }
    with made[True], made[False]:
        yield made
    slot.ask_for(None)


def _unlogged(units: UnitsOfWork) -> UnitsOfWork:
    @contextmanager
    def unit() -> Iterator[UnitOfWork]:
        with units() as uow:
            yield _Unlogged(uow)

    return unit


class _Unlogged:
    """A unit of work that takes events and forgets them."""

    def __init__(self, uow: Any) -> None:
        self._uow = uow

    def record(self, event: Event) -> None:
        pass

    def commit(self) -> None:
        transaction = self._uow._transaction
        transaction._changed = False  # what makes it ask for an event
        transaction.commit()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._uow, name)


class _Open:
    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        del connection, scope
        return Actor("api", Role.SYSTEM, Authentication.NONE)


class _Alone:
    async def statuses(self) -> list[ServiceStatus]:
        return []

    async def families(self) -> list[Any]:
        return []

    async def trials(self) -> list[Any]:
        return []

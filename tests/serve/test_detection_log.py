from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from loop.errors import Unavailable
from loop.events import Actor, Event, Role
from loop.ports import UnitOfWork
from serve.api import Intake, build_api
from serve.detection_log import DetectionLog
from store.image_codec import Limits
from tests.fakes import FakeDatabase
from tests.serve.conftest import MAX_BYTES, MAX_PIXELS, World, picture
from tests.serve.fakes import OpenGate, model_ref

ACTOR = Actor("key-1", Role.SYSTEM)


class Disk:
    """A database whose commits wait while it is held."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.commits: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    @contextmanager
    def units(self) -> Iterator[UnitOfWork]:
        with self.database.units() as uow:
            commit = uow.commit

            def slow() -> None:
                self.busy.set()
                assert self.free.wait(10)
                before = len(self.database.events)
                commit()
                self.commits.append(len(self.database.events) - before)

            uow.commit = slow  # type: ignore[method-assign]
            yield uow


def served(number: int = 0, **details: Any) -> Event:
    about = {"detections": 1, "width": 60, "height": 40} | details
    return Event(
        "detection.served",
        ACTOR,
        {"model": model_ref("1").as_dict()},
        about,
        request_id=f"r{number}",
    )


def test_an_event_is_committed_before_its_request_goes_on() -> None:
    disk = Disk()
    asyncio.run(DetectionLog(disk.units).record(served()))
    assert [event.request_id for event in disk.database.events] == ["r0"]


def test_those_that_wait_are_committed_together() -> None:
    async def run() -> None:
        disk = Disk()
        log = DetectionLog(disk.units)
        disk.free.clear()
        first = asyncio.create_task(log.record(served(0)))
        await asyncio.to_thread(disk.busy.wait, 10)
        others = [asyncio.create_task(log.record(served(each))) for each in range(1, 51)]
        await asyncio.sleep(0)  # they have queued up
        assert not any(task.done() for task in others)
        disk.free.set()
        await asyncio.gather(first, *others)
        assert disk.commits == [1, 50]
        ids = [event.request_id for event in disk.database.events]
        assert sorted(ids) == sorted(f"r{each}" for each in range(51))

    asyncio.run(run())


def test_an_event_that_does_not_fit_takes_no_other_with_it() -> None:
    async def run() -> None:
        disk = Disk()
        log = DetectionLog(disk.units)
        disk.free.clear()
        first = asyncio.create_task(log.record(served(0)))
        await asyncio.to_thread(disk.busy.wait, 10)
        others = [log.record(served(1)), log.record(served(2, width=-1)), log.record(served(3))]
        waiting = asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)
        disk.free.set()
        await first
        answers = await waiting
        assert [type(each) for each in answers] == [type(None), Unavailable, type(None)]
        assert len(disk.database.events) == 3

    asyncio.run(run())


def test_a_request_that_is_cancelled_keeps_no_other_waiting() -> None:
    async def run() -> None:
        disk = Disk()
        log = DetectionLog(disk.units)
        disk.free.clear()
        gone = asyncio.create_task(log.record(served(0)))
        await asyncio.to_thread(disk.busy.wait, 10)
        gone.cancel()
        other = asyncio.create_task(log.record(served(1)))
        await asyncio.sleep(0)
        disk.free.set()
        await other
        assert gone.cancelled()

    asyncio.run(run())


def client(log: DetectionLog | None) -> TestClient:
    world = World()
    intake = Intake(world.database.units, world.images, lambda subject: subject)
    limits = Limits(MAX_BYTES, MAX_PIXELS)
    api = build_api(world.service, intake, limits, keys=OpenGate(), detections=log)
    return TestClient(api, raise_server_exceptions=False)


def test_a_detection_is_on_record_without_its_image() -> None:
    disk, image = Disk(), picture()
    headers = {"content-type": "image/jpeg", "x-request-id": "mine"}
    with client(DetectionLog(disk.units)) as api:
        answer = api.post("/v1/detect", content=image, headers=headers)
    assert answer.status_code == 200
    (event,) = disk.database.events
    assert event.request_id == "mine"
    assert event.details == {"detections": 1, "width": 60, "height": 40}
    assert event.subject == {"model": model_ref("1").as_dict()}
    assert event.started <= event.at
    assert disk.database.tables.image_salts == {}


def test_what_cannot_be_logged_is_not_answered() -> None:
    @contextmanager
    def broken() -> Iterator[UnitOfWork]:
        raise OSError("disk full")
        yield

    with client(DetectionLog(broken)) as api:
        answer = api.post("/v1/detect", content=picture(), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert "detections" not in answer.json()


def test_what_was_not_detected_is_not_on_record() -> None:
    disk = Disk()
    with client(DetectionLog(disk.units)) as api:
        answer = api.post("/v1/detect", content=b"no image", headers={"content-type": "image/png"})
    assert answer.status_code == 415
    assert disk.database.events == []


def test_the_log_of_detections_can_be_left_out() -> None:
    with client(None) as api:
        answer = api.post("/v1/detect", content=picture(), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200

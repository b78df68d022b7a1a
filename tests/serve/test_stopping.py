"""The stop switch, as clients see it: replicas in this process, each with its API, on one database
in a file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from loop.errors import Stopped
from loop.events import Actor, Role
from loop.ordering import give_order
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder, Stop
from loop.stopping import resume_service, stop_service
from loop.trials import TrialKind, TrialPlan
from serve.api import Intake, build_api
from serve.model_slot import ModelSlot
from serve.orders import OrderFollower
from serve.service import ServiceStatus, furthest_behind
from store.database import migrate, open_engine
from store.image_codec import Limits
from store.unit_of_work import units_of_work
from tests.serve.conftest import MAX_BYTES, MAX_PIXELS, picture
from tests.serve.fakes import FakeEngine, FakeImageStore, OpenGate, model_ref
from tests.serve.test_replica import Bench

ONE, TWO = model_ref("1"), model_ref("2")
PLAN = TrialPlan("t1", TrialKind.SHADOW, 1.0, TWO)
ENGINEER, SYSTEM = Actor("eva", Role.ENGINEER), Actor("up", Role.SYSTEM)
STOP = Stop("eva", "2026-01-01T00:00:00.000000Z", "bad")
PATHS = ("/v1/detect", "/v1/images")


@dataclass
class House:
    units: UnitsOfWork
    clients: list[TestClient]
    started: ExitStack

    def start_replica(self) -> TestClient:
        bench = Bench()
        bench.slot._load = lambda model: FakeEngine(model.version)
        OrderFollower(self.units, bench.replica.follow).start()
        bench.slot.settle(30)
        intake = Intake(self.units, FakeImageStore(), lambda subject: subject)
        limits = Limits(MAX_BYTES, MAX_PIXELS)
        api = build_api(bench.replica, intake, limits, keys=OpenGate())
        client = self.started.enter_context(TestClient(api, raise_server_exceptions=False))
        self.clients.append(client)
        return client

    def until_all_answer(self, status: int) -> float:
        """Seconds that this took."""
        begun = time.monotonic()
        while {post(client, PATHS[0]) for client in self.clients} != {status}:
            assert time.monotonic() - begun < 30
            time.sleep(0.01)
        return time.monotonic() - begun


def post(client: TestClient, path: str) -> int:
    return client.post(path, content=picture(), headers={"content-type": "image/jpeg"}).status_code


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engine = open_engine(f"sqlite:///{tmp_path / 'second-look.db'}")
    migrate(engine)
    with ExitStack() as started:
        house = House(units_of_work(engine), [], started)
        give_order(house.units, ONE, None, SYSTEM)
        for _ in range(3):
            house.start_replica()
        house.until_all_answer(200)
        yield house


def test_one_action_takes_every_replica_out_of_service(house: House) -> None:
    stop_service(house.units, actor=ENGINEER, reason="It misses rods.")
    seconds = house.until_all_answer(503)
    logging.getLogger(__name__).info("All replicas refused after %.3f s.", seconds)
    for client in house.clients:
        for path in PATHS:
            response = client.post(path, content=b"not even an image")
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (503, "stopped")
            assert error["message"] and error["hint"]
            assert int(response.headers["retry-after"]) > 0
            assert "eva" not in response.text and "rods" not in response.text
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        told = client.get("/v1/model").json()
        assert told["model"] is None
        assert told["stopped"]["by"] == "eva"
        assert told["stopped"]["reason"] == "It misses rods."


def test_a_replica_that_starts_later_and_a_new_deployment_stay_stopped(house: House) -> None:
    stop_service(house.units, actor=ENGINEER, reason="bad")
    house.until_all_answer(503)
    assert post(house.start_replica(), PATHS[0]) == 503
    give_order(house.units, TWO, None, SYSTEM, while_stopped=True)  # what `up` does
    newest = house.start_replica()
    house.until_all_answer(503)
    assert newest.get("/v1/model").json()["stopped"]["by"] == "eva"


def test_resuming_serves_again(house: House) -> None:
    stop_service(house.units, actor=ENGINEER, reason="bad")
    house.until_all_answer(503)
    resume_service(house.units, ONE, actor=ENGINEER, reason="mended")
    house.until_all_answer(200)
    told = house.clients[0].get("/v1/model").json()
    assert (told["model"], told["stopped"]) == (ONE.as_dict(), None)


def order(stop: Stop | None = None, id: str = "o1", model: ModelRef | None = ONE) -> ServingOrder:
    return ServingOrder(id, model, PLAN, STOP.at, stop)


def test_an_image_that_is_in_the_model_already_gets_no_answer() -> None:
    bench = Bench().load()

    async def stopped_meanwhile() -> None:
        bench.engine.holds = True
        image = np.zeros((4, 4, 3), np.uint8)
        task = asyncio.create_task(bench.replica.detect(image))
        await asyncio.sleep(0)
        bench.replica.follow(order(STOP))
        bench.engine.let()
        with pytest.raises(Stopped):
            await task

    asyncio.run(stopped_meanwhile())


def test_a_stop_ends_the_engines_and_a_replica_is_healthy_all_the_same() -> None:
    bench = Bench()
    bench.replica.follow(order())
    bench.slot.settle(10)
    bench.candidates.settle(10)
    bench.replica.follow(order(STOP, "o2"))
    assert bench.engine.closed.wait(10)
    assert bench.candidate.closed.wait(10)
    bench.replica.check_health()
    assert bench.replica.own_status() == ServiceStatus(order="o2", stopped=STOP)


def test_a_model_that_is_being_loaded_does_not_get_in() -> None:
    loads = 0

    def load(model: ModelRef) -> FakeEngine:
        nonlocal loads
        loads += 1
        slot.ask_for(None)  # what a stop does, while this one loads
        return FakeEngine(model.version)

    slot = ModelSlot(load)
    slot.ask_for(ONE)
    slot.settle(10)
    assert (loads, slot.has_model) == (1, False)


def test_of_several_replicas_it_is_only_stopped_when_all_follow() -> None:
    stopped = ServiceStatus(order="o2", stopped=STOP)
    serves = ServiceStatus(model=ONE, wanted=ONE, order="o1")
    assert furthest_behind([stopped, stopped]) == stopped
    mixed = furthest_behind([serves, stopped])
    assert (mixed.loading, mixed.order) == (True, "")
    assert mixed.model is None


def test_the_siblings_of_a_replica_tell_of_the_stop() -> None:
    bench = Bench().load()
    bench.replica.follow(order(STOP))
    assert asyncio.run(bench.replica.status()).stopped == STOP

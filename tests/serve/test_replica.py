from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric

from loop.errors import NoModel, Unavailable
from serve.admission import Busy
from serve.model_slot import ModelSlot
from serve.replica import OwnTrial, Replica
from serve.service import ServiceStatus
from tests.serve.fakes import FakeEngine, model_ref

IMAGE = np.zeros((4, 4, 3), np.uint8)
ONE = model_ref("1")


class Alone:
    """Siblings of a replica that has none."""

    replica: Replica

    async def statuses(self) -> Sequence[ServiceStatus]:
        return [self.replica.own_status()]

    async def trials(self) -> Sequence[OwnTrial]:
        return [self.replica.own_trial()]

    async def families(self) -> Sequence[tuple[str, Sequence[Metric]]]:
        return [self.replica.own_families(), ("other", self.replica.own_families()[1])]


class Bench:
    """A replica with one engine."""

    def __init__(
        self, *, room: int = 0, stuck_seconds: float = 60, request_seconds: float = 5
    ) -> None:
        self.engine = FakeEngine("1")
        self.slot = ModelSlot(lambda _: self.engine)
        self.candidate = FakeEngine("2")
        self.candidates = ModelSlot(lambda _: self.candidate)
        siblings = Alone()
        self.replica = siblings.replica = Replica(
            self.slot,
            siblings,
            candidates=self.candidates,
            name="r1",
            room=room,
            request_seconds=request_seconds,
            stuck_seconds=stuck_seconds,
        )

    def load(self) -> Bench:
        self.slot.ask_for(ONE)
        self.slot.settle(10)
        return self


async def sample(replica: Replica, line: str) -> bool:
    return line in (await replica.exposition()).decode()


def test_it_detects_with_the_model_that_it_names() -> None:
    detected = asyncio.run(Bench().load().replica.detect(IMAGE))
    assert detected.model == ONE
    assert detected.classes.names == ("1",)
    assert detected.detections[0].id == "d1"


def test_without_a_model_there_is_none_to_detect_with() -> None:
    with pytest.raises(NoModel):
        asyncio.run(Bench().replica.detect(IMAGE))


def test_it_has_room_for_what_suits_the_engine_unless_told() -> None:
    bench = Bench()
    asyncio.run(sample(bench.replica, ""))
    assert asyncio.run(sample(bench.replica, 'images_limit{replica="r1"} 33.0'))
    bench.load()
    assert asyncio.run(sample(bench.replica, 'images_limit{replica="r1"} 34.0'))
    assert asyncio.run(sample(Bench(room=3).replica, 'images_limit{replica="r1"} 3.0'))


def test_a_full_replica_refuses_and_counts() -> None:
    replica = Bench(room=1).load().replica
    with replica.admitted():
        with pytest.raises(Busy):
            replica.check_room()
        with pytest.raises(Busy), replica.admitted():
            pass
    replica.check_room()
    assert asyncio.run(sample(replica, 'secondlook_rejected_total{replica="r1"} 2.0'))


def test_an_image_that_nobody_waits_for_keeps_its_place_until_it_is_done() -> None:
    bench = Bench(room=1).load()
    replica = bench.replica
    bench.engine.holds = True

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                with replica.admitted():
                    await replica.detect(IMAGE)
        with pytest.raises(Busy):
            replica.check_room()
        bench.engine.let()
        await asyncio.sleep(0)  # the place is given back by the loop
        replica.check_room()

    asyncio.run(give_up())


def test_it_is_unhealthy_while_the_engine_does_not_come_back() -> None:
    bench = Bench(stuck_seconds=0).load()
    bench.replica.check_health()

    async def stuck() -> None:
        bench.engine.holds = True
        task = asyncio.create_task(bench.replica.detect(IMAGE))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="has not answered"):
            bench.replica.check_health()
        bench.engine.let()
        await task
        bench.replica.check_health()

    asyncio.run(stuck())


def test_a_replica_is_not_unhealthy_for_working() -> None:
    bench = Bench(stuck_seconds=60).load()

    async def working() -> None:
        bench.engine.holds = True
        task = asyncio.create_task(bench.replica.detect(IMAGE))
        await asyncio.sleep(0)
        bench.replica.check_health()
        bench.engine.let()
        await task

    asyncio.run(working())


def test_metrics_are_of_all_replicas_in_one_family() -> None:
    text = asyncio.run(Bench().load().replica.exposition()).decode()
    for name in ("r1", "other"):
        assert f'secondlook_images_inside{{replica="{name}"}} 0.0' in text
        assert f'digest="{ONE.digest}",name="detector",replica="{name}",version="1"' in text
    assert text.count("# TYPE secondlook_model_info gauge") == 1


def test_it_counts_what_became_of_the_models_that_were_asked_for() -> None:
    bench = Bench().load()
    assert asyncio.run(sample(bench.replica, 'swaps_total{outcome="served",replica="r1"} 1.0'))

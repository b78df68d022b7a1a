"""A swap that not every replica takes, against slots of this process behind a dashboard of ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cluster import service, trials
from cluster.service import service_swap, try_without_service
from cluster.trials import RunningTrials
from loop.errors import BrokenRecord, Conflict, LoopError, Stopped, Unavailable
from loop.events import Actor, Role
from loop.ordering import latest_order
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder
from loop.stopping import resume_service, stop_service
from loop.trials import TrialKind, TrialPlan
from serve import loading
from serve.model_slot import ModelSlot
from serve.release import APP_NAME, ask_for
from serve.service import furthest_behind
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.fakes import FakeRegistry, model
from tests.serve.fakes import FakeEngine

ONE, TWO = model("1"), model("2")
Load = Callable[[ModelRef], Any]


@dataclass
class Service:
    """The replicas, which follow what is ordered when they are asked how they are."""

    slots: list[ModelSlot]
    orders: Callable[[], ServingOrder | None]
    url: str = ""
    asked: list[ModelRef | None] = field(default_factory=list)
    followed: str = ""

    def follow(self) -> None:
        order = self.orders()
        if order is not None and order.id != self.followed:
            self.followed = order.id
            self.asked.append(order.served)
            for slot in self.slots:
                slot.ask_for(order.served)

    def serving(self) -> list[ModelRef | None]:
        return [slot.status().model for slot in self.slots]

    def get(self, path: str) -> Any:
        if path.startswith("/v1/model"):
            self.follow()
            statuses = [replace(slot.status(), order=self.followed) for slot in self.slots]
            return furthest_behind(statuses).as_dict()
        return {"applications": {APP_NAME: {"status": "RUNNING", "message": ""}}}


def loads(ref: ModelRef) -> FakeEngine:
    return FakeEngine(ref.version)


def refuses(*versions: str) -> Load:
    def load(ref: ModelRef) -> FakeEngine:
        if ref.version in versions:
            raise BrokenRecord(f"Version {ref.version} is not what was signed.")
        return loads(ref)

    return load


@contextmanager
def served(settings: Settings, *loaders: Load, model: ModelRef | None = ONE) -> Iterator[Service]:
    units = open_units_of_work(settings)

    def orders() -> ServingOrder | None:
        with units() as uow:
            return uow.serving_orders.find()

    found = Service([ModelSlot(loader) for loader in loaders], orders)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(found.get(self.path))

        def reply(self, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    for slot in found.slots:
        slot.ask_for(model)
        slot.settle(10)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    registry = FakeRegistry(champion=ONE, candidate=TWO)
    monkeypatch.setattr(service, "open_model_registry", lambda settings: registry)
    return registry


def test_a_swap_is_done_when_every_replica_has_the_model(
    settings: Settings, registry: FakeRegistry
) -> None:
    with served(settings, loads, loads) as running:
        service_swap(settings, running.url, running.url)(TWO)
        assert running.serving() == [TWO, TWO]
        assert running.asked == [TWO]


@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_replica_does_not_take_it_all_end_on_the_old_one(
    settings: Settings, registry: FakeRegistry, failing: int
) -> None:
    loaders = [loads, loads]
    loaders[failing] = refuses("2")
    with served(settings, *loaders) as running:
        with pytest.raises(Unavailable, match="not what was signed") as refusal:
            service_swap(settings, running.url, running.url)(TWO)
        assert "(1 of 2 replicas)" in refusal.value.message
        assert "promote it again" in refusal.value.hint
        assert running.serving() == [ONE, ONE]
        assert running.asked == [TWO, ONE]  # a replica that starts now starts with the old one


def test_a_first_model_that_does_not_load_leaves_none_in_service(
    settings: Settings, registry: FakeRegistry
) -> None:
    registry.aliases.clear()
    with served(settings, refuses("2"), loads, model=None) as running:
        with pytest.raises(Unavailable, match="not what was signed"):
            service_swap(settings, running.url, running.url)(TWO)
        assert running.serving() == [None, None]
        assert running.asked == [TWO, None]


def test_a_champion_that_does_not_load_again_is_told_beside_the_cause(
    settings: Settings, registry: FakeRegistry
) -> None:
    with served(settings, loads, refuses("2")) as running:
        running.slots[0]._load = refuses("1")  # its files are gone by now
        running.slots[0].ask_for(None)
        with pytest.raises(Unavailable, match=r"Version 2 .* Going back to version 1 .* Version 1"):
            service_swap(settings, running.url, running.url)(TWO)


def test_a_release_gives_way_to_a_later_order(settings: Settings, registry: FakeRegistry) -> None:
    three = model("3")

    def load(ref: ModelRef) -> FakeEngine:
        if ref == TWO:
            ask_for(settings, three)
            raise BrokenRecord("Version 2 is not what was signed.")
        return loads(ref)

    with served(settings, load) as running:
        with pytest.raises(Conflict, match="Another model was ordered"):
            service_swap(settings, running.url, running.url)(TWO)
        running.follow()
        assert running.asked == [TWO, three]  # and not the champion in its place


def test_a_stop_in_the_middle_of_a_release_wins(settings: Settings, registry: FakeRegistry) -> None:
    engineer, units = Actor("eva", Role.ENGINEER), open_units_of_work(settings)

    def load(ref: ModelRef) -> FakeEngine:
        if ref == TWO:
            stop_service(units, actor=engineer, reason="bad")
        return loads(ref)

    with served(settings, load) as running:
        with pytest.raises(Conflict, match="Another model was ordered"):
            service_swap(settings, running.url, running.url)(TWO)
        with pytest.raises(Stopped):
            service_swap(settings, running.url, running.url)(TWO)
        running.follow()
        assert running.serving() == [None]
        resume_service(units, ONE, actor=engineer, reason="good")
        running.follow()
        running.slots[0].settle(10)
        assert running.serving() == [ONE]


def test_where_no_dashboard_is_named_the_api_says_that_it_serves(
    settings: Settings, registry: FakeRegistry
) -> None:
    with served(settings, loads, loads) as running:
        service_swap(settings, "", running.url)(TWO)
        assert running.serving() == [TWO, TWO]


def test_where_the_api_does_not_answer_nothing_is_ordered(
    settings: Settings, registry: FakeRegistry
) -> None:
    with pytest.raises(Unavailable, match=r"No service answers at http://127\.0\.0\.1:9") as error:
        service_swap(settings, "", "http://127.0.0.1:9")(TWO)
    assert "SECONDLOOK_API_URL" in error.value.hint
    assert latest_order(open_units_of_work(settings)) is None


def test_a_trial_can_be_ended_while_the_service_is_stopped(
    settings: Settings, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "open_model_registry", lambda settings: registry)
    units = open_units_of_work(settings)
    with served(settings, loads) as running:
        stop_service(units, actor=Actor("eva", Role.ENGINEER), reason="bad")
        RunningTrials(settings, running.url, running.url).put(None)
        order = latest_order(units)
        assert order is not None and order.stop is not None and order.trial is None


def test_no_trial_begins_while_a_release_is_under_way(
    settings: Settings, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "open_model_registry", lambda settings: registry)
    plan = TrialPlan("t1", TrialKind.CANARY, 0.05, model("3"))
    with served(settings, loads) as running:
        ask_for(settings, TWO)
        running.follow()
        service = RunningTrials(settings, running.url, running.url)
        with pytest.raises(Conflict, match="being taken into service"):
            service.put(plan)
        service.put(None)  # and ending one does not undo the release
        assert running.asked == [TWO, TWO]


def test_without_a_service_a_model_is_loaded_and_detects_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine("2")
    monkeypatch.setattr(loading, "load_engine", lambda *_, **__: engine)
    try_without_service(settings)(TWO)
    assert engine.closed.is_set()


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (BrokenRecord("Version 2 is not what was signed."), "Version 2 is not what was signed"),
        (RuntimeError("no kernel"), "not taken into service: RuntimeError: no kernel"),
    ],
)
def test_without_a_service_a_model_that_does_not_load_is_refused_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    def fail(*_: object, **__: object) -> FakeEngine:
        raise failure

    monkeypatch.setattr(loading, "load_engine", fail)
    with pytest.raises(LoopError, match=words):
        try_without_service(settings)(TWO)


def test_without_a_service_a_model_that_cannot_detect_is_refused_and_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine("2")
    engine.failure = RuntimeError("no kernel")
    monkeypatch.setattr(loading, "load_engine", lambda *_, **__: engine)
    with pytest.raises(LoopError, match="no kernel"):
        try_without_service(settings)(TWO)
    assert engine.closed.is_set()

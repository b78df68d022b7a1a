"""The stop switch on the command line: nothing is up, and the database is all that there is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from cluster import registering, status
from cluster.cli import app
from cluster.commands import stopping
from loop.errors import Conflict, LoopError, Stopped
from loop.events import Actor, Role
from loop.ordering import latest_order
from serve.release import STOPPED, ask_for, what_serves
from store.audit_log import open_audit_log
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.fakes import FakeRegistry, model

ONE = model("1")


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    registry = FakeRegistry(champion=ONE)
    monkeypatch.setattr(stopping, "open_model_registry", lambda settings: registry)
    monkeypatch.setattr(status, "open_model_registry", lambda settings: registry)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["--home", str(settings.home), *arguments])

    return run


def test_it_is_stopped_and_resumed_on_record(
    settings: Settings, command: Callable[..., Result]
) -> None:
    ask_for(settings, ONE)
    stopped = json.loads(
        command("models", "stop", "--reason", "bad", "--by", "eva", "--json").stdout
    )
    assert (stopped["stopped"]["by"], stopped["stopped"]["reason"]) == ("eva", "bad")
    assert stopped["confirmed"] is None
    told = json.loads(command("status", "--json").stdout)["stopped"]
    assert "eva" in told and "bad" in told
    resumed = json.loads(command("models", "resume", "--reason", "good", "--json").stdout)
    assert resumed["model"] == ONE.as_dict()
    assert json.loads(command("status", "--json").stdout)["stopped"] is None
    entries = open_audit_log(settings).tail(2)
    assert [(each.event.type, each.event.reason) for each in entries] == [
        ("model.stopped", "bad"),
        ("model.resumed", "good"),
    ]


def test_it_says_what_follows(settings: Settings, command: Callable[..., Result]) -> None:
    assert "stays stopped" in command("models", "stop", "--reason", "bad").stdout
    assert isinstance(command("models", "stop", "--reason", "bad").exception, Conflict)
    assert "version 1 is the one to serve" in command("models", "resume", "--reason", "ok").stdout


def test_both_need_a_reason(command: Callable[..., Result]) -> None:
    assert command("models", "stop").exit_code == 2
    assert isinstance(command("models", "resume", "--reason", " ").exception, LoopError)


def test_a_start_keeps_the_stop_and_a_first_champion_is_refused(
    settings: Settings, command: Callable[..., Result]
) -> None:
    command("models", "stop", "--reason", "bad")
    units = open_units_of_work(settings)
    order = ask_for(settings, ONE, while_stopped=True)
    assert latest_order(units) == order
    assert order.stop is not None
    weights = settings.home / "weights.pt"
    weights.write_bytes(b"weights")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(registering, "load_classes", lambda weights, config_dir: None)
        registering.register(
            units,
            FakeRegistry(),  # type: ignore[arg-type]
            weights,
            config_dir=settings.home,
            alias="champion",
            actor=Actor("eva", Role.ENGINEER),
        )


def test_what_serves_says_that_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"model": None, "wanted": None, "stopped": {"by": "eva"}}
    monkeypatch.setattr("serve.release._model_state", lambda client: state)
    assert what_serves("http://127.0.0.1:1", {}) == STOPPED

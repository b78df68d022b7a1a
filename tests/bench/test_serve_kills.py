from __future__ import annotations

import os
import signal

import pytest

from bench import serve_kills
from bench.serve_kills import kill_one, parser, running_pids, summary

FOUND = {
    "answers": 100,
    "errors": 2,
    "rejected": 1,
    "p50_ms": 5.0,
    "p95_ms": 8.0,
    "p99_ms": 9.0,
    "max_ms": 11.0,
    "statuses": {"0": 2, "200": 97, "429": 1},
    "said": {"the connection was closed without an answer": 2},
    "versions": {"1": 97},
}


class FakeReplicas:
    def __init__(self, events: list[str]) -> None:
        self._events = events

    def pids(self) -> list[int]:
        self._events.append("asked")
        return [7, 8]

    def wait_without(self, gone: int) -> None:
        self._events.append(f"waited without {gone}")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    events: list[str] = []

    def kill(pid: int, number: int) -> None:
        events.append(f"killed {pid} by {signal.Signals(number).name}")

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(
        serve_kills.time, "sleep", lambda seconds: events.append(f"slept {seconds}")
    )
    return events


def test_every_request_that_was_not_answered_with_200_has_failed() -> None:
    kills = [{"pid": 1, "back_seconds": seconds} for seconds in (4.0, 9.0, 5.0)]
    found = summary(FOUND, kills)
    assert (found["requests"], found["failed"], found["rejected"]) == (100, 3, 1)
    assert found["back_seconds"] == {"median": 5.0, "max": 9.0}
    assert found["said"] == FOUND["said"]
    assert found["each"] == kills


def test_a_kill_comes_so_long_after_its_swap(events: list[str]) -> None:
    row = kill_one(FakeReplicas(events), lambda: events.append("swapped"), 0.2)
    assert events == [
        "swapped",
        "slept 0.2",
        "asked",
        "killed 7 by SIGKILL",
        "waited without 7",
    ]
    assert row.keys() == {"swap_seconds", "pid", "back_seconds"}


def test_without_a_swap_it_is_killed_at_once(events: list[str]) -> None:
    assert kill_one(FakeReplicas(events), None, 0.0).keys() == {"pid", "back_seconds"}
    assert events[:2] == ["asked", "killed 7 by SIGKILL"]


def test_only_replicas_that_run_are_killed() -> None:
    replicas = [
        {"pid": 1, "state": "RUNNING"},
        {"pid": None, "state": "STARTING"},
        {"pid": 3, "state": "STOPPING"},
        {"pid": 4, "state": "RUNNING"},
    ]
    application = {"deployments": {"DetectorReplica": {"replicas": replicas}}}
    assert running_pids(application) == [1, 4]


def test_by_default_there_are_no_swaps() -> None:
    assert parser().parse_args([]).after_swap is None
    assert parser().parse_args(["--after-swap", "0"]).after_swap == 0

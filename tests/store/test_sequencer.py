from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loop.errors import Unavailable
from store import sequencer
from store.audit_log import AuditLog
from store.sequencer import Sequencer
from tests.store.logs import numbers_in, put, sqlite_log


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PATIENCE_SECONDS", "_LOOK_SECONDS", "_AGAIN_SECONDS"):
        monkeypatch.setattr(sequencer, name, 0.05)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return sqlite_log(tmp_path, 1)


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_empty(log: AuditLog) -> bool:
    return not log.rows.is_waiting()


def test_who_commits_integrates_if_nobody_else_does(log: AuditLog) -> None:
    one = Sequencer(log)
    for number in (1, 2):  # again, after its thread has ended
        put(log.rows.engine, number)
        one.wake()
        wait_until(lambda: is_empty(log))
        wait_until(lambda: one._thread is None)
    assert numbers_in(log) == [0, 1, 2]


def test_where_somebody_else_is_at_it_it_is_left_to_them(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, mine = sqlite_log(tmp_path), Sequencer(log)
    tried: list[int] = []
    monkeypatch.setattr(log, "integrate", lambda: tried.append(1))
    monkeypatch.setattr(sequencer, "_PATIENCE_SECONDS", 0.3)
    mine.wake()
    for number in range(1, 12):
        put(log.rows.engine, number)
        mine.wake()
        other.integrate()
        time.sleep(0.05)
    wait_until(lambda: mine._thread is None)
    # But for the last look, when nothing grew any more.
    assert len(tried) <= 1
    assert other.head().size == 12


def test_a_process_made_for_it_does_so_until_it_is_told_to_stop(log: AuditLog) -> None:
    stop, one = threading.Event(), Sequencer(log)
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    for number in range(1, 4):
        put(log.rows.engine, number)
        wait_until(lambda: is_empty(log))
    put(log.rows.engine, 4)
    stop.set()
    thread.join(30)
    assert numbers_in(log) == [0, 1, 2, 3, 4]


def test_it_goes_on_after_a_failure(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    integrate, failures = log.integrate, iter(range(3))

    def failing() -> int:
        if next(failures, None) is not None:
            raise Unavailable("The log in here cannot be written.")
        return integrate()

    monkeypatch.setattr(log, "integrate", failing)
    put(log.rows.engine, 1)
    logging.getLogger("store.sequencer").disabled = True  # as MLflow's migrations leave it
    with caplog.at_level(logging.WARNING, logger="store.sequencer"):
        Sequencer(log).wake()
        wait_until(lambda: is_empty(log))
    told = [each for each in caplog.messages if "wait in the outbox" in each]
    assert len(told) == 1

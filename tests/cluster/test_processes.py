from __future__ import annotations

import socket
import sys
from pathlib import Path

import psutil
import pytest

from cluster.processes import Child, descendants, end_all, require_free_port
from loop.errors import Misconfigured
from store.processes import free_port, is_alive

# Starts a grandchild, says so, and ignores the polite signal: only a kill ends the two of them.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", flush=True)
time.sleep(600)
"""


def test_a_child_writes_its_output_to_its_log_and_reports_its_exit_code(tmp_path: Path) -> None:
    child = Child("echo", [sys.executable, "-c", "print('hi'); exit(3)"], tmp_path / "a/log", {})
    while child.exit_code() is None:
        pass
    assert child.exit_code() == 3
    assert child.last_lines() == "hi"


def test_stopping_a_child_ends_its_grandchildren_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.processes._GRACE_SECONDS", 0.5)
    child = Child("stubborn", [sys.executable, "-c", STUBBORN], tmp_path / "log", {})
    while "started" not in child.last_lines() or not descendants(child.pid):
        assert child.exit_code() is None
    family = [psutil.Process(child.pid), *descendants(child.pid)]
    assert len(family) == 2
    child.stop()
    assert not any(is_alive(process) for process in family)


def test_ending_what_is_gone_already_is_harmless() -> None:
    gone = psutil.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    end_all([gone.pid])


def test_a_taken_port_is_named_with_the_variable_that_moves_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(Misconfigured, match=str(port)) as caught:
            require_free_port("127.0.0.1", port, "the app", "SECONDLOOK_UI_PORT")
    assert "SECONDLOOK_UI_PORT" in caught.value.hint


def test_a_free_port_is_free() -> None:
    require_free_port("127.0.0.1", free_port(), "anything", "X")

"""Processes by record: an id alone may be another process's by now, with its start time it is not.

A process that is to be found again by others is written down as a `ProcessRecord`; processes that
nobody could write down are found by a mark in the environment that they began with.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psutil

# A process gets this long to end by itself before it is killed.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
# Start times are told with this accuracy, in seconds.
_SAME_START_S = 1.0


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """``started`` is in seconds since the epoch. ``host`` is where the id means something."""

    pid: int
    started: float
    host: str

    @classmethod
    def of(cls, process: psutil.Process) -> Self:
        return cls(process.pid, process.create_time(), socket.gethostname())

    @classmethod
    def own(cls) -> Self:
        return cls.of(psutil.Process())

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        return cls(int(raw["pid"]), float(raw["started"]), str(raw["host"]))

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def find(self) -> psutil.Process | None:
        """The process, if it runs on this machine."""
        return find_process(self.pid, self.started) if self.is_here else None


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process of that id if it lives and began at ``started``, in seconds since the epoch."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_S
        return process if same and is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def is_alive(process: psutil.Process) -> bool:
    """A zombie is not: where nobody reaps orphans (process 1 of many containers) it stays one."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked_processes(variable: str, value: str) -> list[psutil.Process]:
    """Those of this machine whose environment said ``variable=value`` when they began."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.environ().get(variable) == value and is_alive(process):
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return found


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """What is started while this is open inherits ``values``; then all is as it was."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def end_processes(family: Sequence[psutil.Process], grace_seconds: float | None = None) -> None:
    """Ask them to end, and kill what is left after the grace; 0 kills at once."""
    grace = _GRACE_SECONDS if grace_seconds is None else grace_seconds
    if grace:
        _signal_all(family, signal.SIGTERM)
        family = wait_for_end(family, grace)
    _signal_all(family, signal.SIGKILL)
    wait_for_end(family, _GRACE_SECONDS)


def wait_for_end(family: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for all of them to end; returns those that did not."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in family if is_alive(process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(_POLL_SECONDS)
    return []


def _signal_all(family: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        try:
            process.send_signal(number)  # psutil checks that the id was not reused
        except psutil.NoSuchProcess:
            continue

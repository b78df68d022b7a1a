"""Child processes: started with a log file, ended for certain, and none of them forgotten."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from loop.errors import Misconfigured

# A part gets this long to end by itself before it is killed.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05


class Child:
    """A part that runs as a process of its own, its output in ``log``."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # Its own session: Ctrl-C in the terminal reaches us alone, and we end it in order.
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_lines(self, count: int = 5) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-count:])

    def stop(self) -> None:
        end_all([self.pid])
        self._process.wait(_GRACE_SECONDS)


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below ``pid``; none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end_all(pids: Iterable[int]) -> None:
    """Ask these processes and all below them to end, and kill what is left after the grace."""
    family: list[psutil.Process] = []
    for pid in pids:
        family.extend(descendants(pid))
        try:
            family.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    end_processes(family)


def end_processes(family: Sequence[psutil.Process]) -> None:
    """Likewise for processes already looked up: a process id that was reused is left alone."""
    for process in family:
        _signal(process, signal.SIGTERM)
    for process in _wait(family):
        _signal(process, signal.SIGKILL)
    _wait(family)


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process of that id if it lives and began at ``started``, in seconds since the epoch:
    an id that was reused is another process."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 1.0
        return process if same and is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def is_alive(process: psutil.Process) -> bool:
    """A zombie is not: where nobody reaps orphans (process 1 of many containers) it stays one."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait for all of them to end, up to the grace; returns those that did not."""
    deadline = time.monotonic() + _GRACE_SECONDS
    while alive := [process for process in family if is_alive(process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(_POLL_SECONDS)
    return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil checks that the id was not reused
    except psutil.NoSuchProcess:
        return


def require_free_port(host: str, port: int, what: str, variable: str) -> None:
    """Raise `Misconfigured` if something else listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Misconfigured(
                f"Port {port} on {host}, for {what}, is taken ({error.strerror}).",
                hint=f"Stop what uses it (secondlook down?), or set {variable} to a free port.",
            ) from error


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port

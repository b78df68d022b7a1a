"""Child processes: started with a log file, ended for certain, and none of them forgotten."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from loop.errors import Misconfigured
from store.processes import end_processes

# How long a killed child may take to be gone.
_GRACE_SECONDS = 10.0


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

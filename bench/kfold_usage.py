"""What a command and everything that it starts cost: wall and CPU seconds, memory, disk.

The processes are found by sampling: those below the command's, and those that were, however they
were orphaned since. Memory is the sum of their proportional set sizes (PSS, Linux's
``Documentation/filesystems/proc.rst``): a page that n processes share counts 1/n in each, so that
shared memory counts once. A process's CPU seconds and bytes are those of its last sample, so up to
`_INTERVAL_S` of each process is missed, in any command alike.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_INTERVAL_S = 0.2
# Reading a process's memory walks its page tables, which takes it milliseconds.
_MEMORY_EVERY = 5


@dataclass(frozen=True, slots=True)
class Usage:
    """``disk_bytes_written`` is what the kernel charged them for writing to a file system on disk,
    shared memory not included; ``shared_memory_bytes`` is the most shared memory that one of them
    had mapped."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    disk_bytes_written: int
    shared_memory_bytes: int


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Usage:
    """Run ``command`` in ``folder``; its output goes to ``log``.

    Raises `subprocess.CalledProcessError` if it fails.
    """
    with log.open("ab") as output:
        started = time.monotonic()
        process = psutil.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        sampler = Sampler(process.pid)
        try:
            with sampler:
                status = process.wait()
                ended = time.monotonic()  # the sampler ends a sample later
        except BaseException:
            sampler.kill()
            process.wait()
            raise
    if status != 0:
        raise subprocess.CalledProcessError(status, list(command))
    return sampler.usage(ended - started)


def total(usages: Sequence[Usage]) -> Usage:
    """Of commands that ran one after the other."""
    return Usage(
        wall_seconds=sum(usage.wall_seconds for usage in usages),
        cpu_seconds=sum(usage.cpu_seconds for usage in usages),
        peak_memory_bytes=max(usage.peak_memory_bytes for usage in usages),
        disk_bytes_written=sum(usage.disk_bytes_written for usage in usages),
        shared_memory_bytes=max(usage.shared_memory_bytes for usage in usages),
    )


class Sampler:
    """Watches a process and all below it, in a thread, while its ``with`` block runs."""

    def __init__(self, pid: int) -> None:
        # By pid and time of creation, which `psutil.Process` compares and hashes by.
        self._family: set[psutil.Process] = {psutil.Process(pid)}
        self._cpu: dict[psutil.Process, float] = {}
        self._written: dict[psutil.Process, int] = {}
        self._peak = 0
        self._shared = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def usage(self, wall_seconds: float) -> Usage:
        return Usage(
            wall_seconds=wall_seconds,
            cpu_seconds=sum(self._cpu.values()),
            peak_memory_bytes=self._peak,
            disk_bytes_written=sum(self._written.values()),
            shared_memory_bytes=self._shared,
        )

    def memory_bytes(self) -> int:
        """What they take together at this moment."""
        self._find()
        return self._weigh()

    def kill(self) -> None:
        """End what is left of the family."""
        for process in self._family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def _watch(self) -> None:
        samples = 0
        while True:
            over = self._end.is_set()
            self._find()
            self._count()
            if over or samples % _MEMORY_EVERY == 0:
                self._peak = max(self._peak, self._weigh())
            if over:
                return
            samples += 1
            self._end.wait(_INTERVAL_S)

    def _find(self) -> None:
        """Add the children of those that are known."""
        everyone = {process.pid: process for process in psutil.process_iter(["ppid"])}
        known = {process.pid for process in self._family}
        added = True
        while added:
            added = False
            for pid, process in everyone.items():
                if pid not in known and process.info["ppid"] in known:
                    self._family.add(process)
                    known.add(pid)
                    added = True

    def _count(self) -> None:
        for process in self._family:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._cpu[process] = times.user + times.system
                    self._written[process] = process.io_counters().write_bytes
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended: the last sample stands
                continue

    def _weigh(self) -> int:
        total = 0
        for process in self._family:
            try:
                total += process.memory_full_info().pss
                self._shared = max(self._shared, _shared_bytes(process.pid))
            except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                continue
        return total


def _shared_bytes(pid: int) -> int:
    """``RssShmem`` of ``/proc/PID/status``, which counts mapped shared memory and no other file."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0

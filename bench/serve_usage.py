"""What a family of processes costs while a load is applied: CPU seconds and memory.

Read twice, at both ends of the load, since watching would cost the cores that are measured.
Memory is the sum of proportional set sizes (PSS), as in `bench.kfold_usage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

# How Ray calls the processes that a request goes through; all others of `secondlook up` are idle.
_SERVING = ("ray::ServeReplica", "ray::ProxyActor", "ray::HAProxy", "haproxy")


@dataclass(frozen=True, slots=True)
class Memory:
    """``serving_bytes`` are of the processes that a request goes through."""

    all_bytes: int
    serving_bytes: int


def cpu_seconds(pid: int) -> dict[psutil.Process, float]:
    """Of the process and each one below it, since it began."""
    spent = {}
    for process in _family(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        spent[process] = times.user + times.system
    return spent


def cpu_between(
    before: Mapping[psutil.Process, float], after: Mapping[psutil.Process, float]
) -> float:
    """A process that began in between counts from its start; one that ended does not count."""
    return sum(spent - before.get(process, 0.0) for process, spent in after.items())


def memory(pid: int) -> Memory:
    everything = serving = 0
    family = _family(pid)
    for process in family:
        try:
            pss = process.memory_full_info().pss
            named = " ".join(process.cmdline())
        except (psutil.Error, OSError):
            continue
        everything += pss
        # A server of one process is that process.
        serving += pss if len(family) == 1 or named.startswith(_SERVING) else 0
    return Memory(everything, serving)


def _family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []

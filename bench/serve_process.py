"""The processes that are measured and that measure: started on their cores, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.serve_load import Plan
from bench.serve_usage import Memory, cpu_between, cpu_seconds, memory
from cluster.processes import end_all

_START_SECONDS = 240.0
_POLL_SECONDS = 0.2
# As idle as a server is, before it is measured: a fifth of a core, and no longer wait than this.
_IDLE_CPU, _IDLE_SECONDS = 0.2, 60.0

Events = Iterator[dict[str, Any]]
Observe = Callable[[dict[str, Any]], None]


@contextmanager
def process(
    arguments: Sequence[str], cores: Sequence[int], log: Path, *, piped: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """``python -m`` with these arguments, its output in a pipe if ``piped``, else in ``log``, as
    its errors are."""
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else errors,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores) if cores else None,
        )
    try:
        yield child
    finally:
        end_all([child.pid])
        child.wait()


def events(child: subprocess.Popen[str], first: str, log: Path) -> Events:
    """Write ``first`` to a process and read the JSON lines that it writes, up to its result.

    Raises `RuntimeError` with the end of ``log`` if there is none.
    """
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("The process has no pipes.")
    child.stdin.write(first + "\n")
    child.stdin.flush()
    for line in child.stdout:
        event = json.loads(line)
        yield event
        if event["event"] == "result":
            return
    raise RuntimeError(f"A process ended without a result:\n{tail(log)}")


def apply_load(
    plan: Plan,
    server_pid: int,
    log: Path,
    *,
    observe: Observe | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """The load generator's result, with what the server spent on it.

    ``observe`` sees each event as it comes. ``meanwhile`` is done in a thread as soon as answers
    count; the load ends when it has ended, and what it raised is raised.
    """
    before: dict[Any, float] = {}
    spent, held = 0.0, Memory(0, 0)
    result: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as pool, process(["bench.serve_load"], plan.cores, log) as child:
        done: Future[None] | None = None
        for result in events(child, plan.to_json(), log):
            if result["event"] == "begin":
                before = cpu_seconds(server_pid)
                done = pool.submit(_then_stop, meanwhile, child) if meanwhile else None
            elif result["event"] == "end":
                spent = cpu_between(before, cpu_seconds(server_pid))
                held = memory(server_pid)
            if observe is not None:
                observe(result)
        if done is not None:
            done.result()
    return result | {
        "server_cpu_seconds": spent,
        "memory_bytes": held.all_bytes,
        "serving_memory_bytes": held.serving_bytes,
    }


def _then_stop(work: Callable[[], None], child: subprocess.Popen[str]) -> None:
    try:
        work()
    finally:
        if child.stdin is not None:
            child.stdin.write("stop\n")
            child.stdin.flush()


def wait_for(url: str, child: subprocess.Popen[str], log: Path, *, below: int = 300) -> None:
    """Until it answers with a status below that. Raises `RuntimeError` if it ends or takes too
    long."""
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(timeout=10, trust_env=False) as client:
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise RuntimeError(f"A server ended with {child.returncode}:\n{tail(log)}")
            try:
                if client.get(url).status_code < below:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"{url} did not answer in {_START_SECONDS:.0f} s:\n{tail(log)}")


def wait_until_idle(pid: int) -> None:
    """Until what starts beside the service has started; a warning if that does not end."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < deadline:
        before, begun = cpu_seconds(pid), time.monotonic()
        time.sleep(1)
        spent = cpu_between(before, cpu_seconds(pid))
        if spent / (time.monotonic() - begun) < _IDLE_CPU:
            return
    say(f"the processes do not come to rest: {spent:.2f} CPU seconds in a second")


def tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-characters:] if log.exists() else ""


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)

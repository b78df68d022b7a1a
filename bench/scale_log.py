"""``python -m bench.scale_log``: the audit log at ten million events, and how many get in a second.

Its files: how much disk they take, how long they take to check, in how much memory, and how long a
proof takes. The database's copy of them: how large it is, and how long making it anew takes. And on
each database, how many detections a second writers put on record in groups of several sizes, how
many a second one sequencer moves from there into the log, and whether it keeps up with a target.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from bench.audit_files import write
from bench.kfold_settings import CPU
from bench.queue import databases
from bench.scale_queue import database_bytes
from bench.serve_process import say
from bench.serve_settings import describe_machine
from loop.events import Actor, Authentication, Event, Role, new_id
from store import tables
from store.audit_log import AuditLog, open_audit_log
from store.audit_rows import Head
from store.database import migrate, open_engine, reading
from store.log_verify import verify_files
from store.settings import Settings
from store.unit_of_work import units_of_work

_ACTOR = Actor("person-0123456789abcdef", Role.SYSTEM, Authentication.API_KEY)
_MODEL = {"name": "detector", "version": "12", "digest": "0" * 64}
_PROOFS = 200
_GROUPS = (1, 10, 100, 500)
_LOOK_SECONDS = 0.5  # as the app's sequencer does


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_log", description=__doc__)
    add = parser.add_argument
    add("--events", type=int, default=10_000_000, help="Of the log that is checked; 0: none.")
    add("--copied", type=int, default=1_000_000, help="Of those in the database's copy; 0: none.")
    add("--seconds", type=float, default=10, help="How long events are recorded and moved; 0: not.")
    add("--waiting", type=int, default=20_000, help="Events that are moved, with nobody recording.")
    add("--rate", type=int, default=1000, help="The target, in events a second.")
    add("--writers", type=int, default=2, help="Processes that record.")
    add("--group", type=int, default=25, help="Events of one transaction, of those at a rate.")
    add("--on", nargs="+", metavar="NAME", help="SQLite, PostgreSQL; else both.")
    add("--json", action="store_true", help="Print JSON for machines.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-log-") as name:
        result = measure(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": describe_machine(CPU)}
    if arguments.events:
        found["files"] = in_files(folder / "files", arguments.events)
    for name, database in databases(None).items():
        if arguments.on and name not in arguments.on:
            continue
        found[name] = {}
        if arguments.copied:
            with database() as url:
                found[name] |= _copy(folder / f"{name}-copy", url, arguments.copied)
        if arguments.seconds:
            with database() as url:
                found[name] |= _moving(folder / f"{name}-moving", url, arguments)
    return found


def detection(number: int = 0) -> Event:
    """One as an answer of the API leaves it. The request has the event's own id."""
    id = new_id()
    details = {"detections": number % 20, "width": 640, "height": 480}
    return Event("detection.served", _ACTOR, {"model": _MODEL}, details, id=id, request_id=id)


def in_files(folder: Path, count: int) -> dict[str, float]:
    say(f"writing a log of {count} events")
    log = open_audit_log(Settings(home=folder, database_url=""))
    seconds = _timed(lambda: write(log, count, detection()))
    sizes = [path.stat() for path in log.files.folder.rglob("*") if path.is_file()]
    say("checking it")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        checked = pool.submit(_checked, folder, count).result()
    return {
        "events": count,
        "entry_bytes": len(detection().canonical()),
        "files": len(sizes),
        "bytes": sum(size.st_size for size in sizes),
        "bytes_on_disk": sum(size.st_blocks * 512 for size in sizes),
        "write_seconds": seconds,
        **checked,
    }


def _checked(folder: Path, count: int) -> dict[str, float]:
    """In a process of its own, whose memory is that of the work."""
    log = open_audit_log(Settings(home=folder, database_url=""))
    before = _peak_bytes()
    chosen = np.random.default_rng(1).integers(0, count, _PROOFS).tolist()
    proofs = [_timed(partial(log.files.prove, at)) for at in chosen]
    verify = partial(verify_files, log.files, log.key.signer().key)
    return {
        "verify_one_process_seconds": _timed(partial(verify, processes=1)),
        "proof_p50_ms": float(np.percentile(proofs, 50)) * 1000,
        "proof_p99_ms": float(np.percentile(proofs, 99)) * 1000,
        "verify_memory_bytes": _peak_bytes() - before,
        "verify_seconds": _timed(verify),  # with as many processes as there are cores
    }


def _copy(folder: Path, url: str, count: int) -> dict[str, float]:
    say(f"copying {count} events into the database")
    log = _log(folder, url)
    write(log, count, detection())
    engine, before = log.rows.engine, database_bytes(log.rows.engine)
    head, key = Head(count, "0" * 64), str(log.key.signer().key)
    seconds = _timed(lambda: log.rows.rebuild(head, key, log.files.entries(count), 0))
    size = database_bytes(engine) - before
    engine.dispose()
    return {"copied": count, "copy_seconds": seconds, "copy_bytes_an_event": size / count}


def _moving(folder: Path, url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    log = _log(folder, url)
    found: dict[str, Any] = {"recorded": []}
    with _writers(url, 1) as start:
        for group in _GROUPS:
            say(f"recording in groups of {group}")
            done, seconds = start(group, arguments.seconds / 2, 0)[0].result()
            found["recorded"].append({"group": group, "events_a_second": done / seconds})
            log.integrate()
    _record_all(log, arguments.waiting)
    say(f"moving {arguments.waiting} events")
    cpu = time.process_time()
    seconds = _timed(log.integrate)
    found["moved_a_second"] = arguments.waiting / seconds
    found["moving_cpu_us"] = (time.process_time() - cpu) / arguments.waiting * 1e6
    with _writers(url, arguments.writers) as start:
        for name, rate in (("flat_out", 0), ("at_rate", arguments.rate)):
            say(f"recording {rate or 'as many as can be'} a second, and moving them")
            running = start(arguments.group, arguments.seconds, rate / arguments.writers)
            found[name] = _beside(log, running) | {"asked_a_second": rate}
    log.rows.engine.dispose()
    return found


def _beside(log: AuditLog, writers: list[Future[tuple[int, float]]]) -> dict[str, float]:
    """What one sequencer moves while they record."""
    began, moved, most = time.perf_counter(), 0, 0
    while not all(writer.done() for writer in writers):
        most = max(most, _waiting(log))
        moved += log.integrate()
        time.sleep(_LOOK_SECONDS)
    seconds = time.perf_counter() - began
    left = _waiting(log)
    results = [writer.result() for writer in writers]
    return {
        "recorded_a_second": sum(done / taken for done, taken in results),
        "moved_a_second": moved / seconds,
        "waiting_most": max(most, left),
        "waiting_at_the_end": left,
        "moved_afterwards_seconds": _timed(log.integrate),
    }


def _waiting(log: AuditLog) -> int:
    with reading(log.rows.engine) as connection:
        return connection.scalar(select(func.count()).select_from(tables.audit_outbox)) or 0


def _record_all(log: AuditLog, count: int) -> None:
    units = units_of_work(log.rows.engine)
    for first in range(0, count, 500):
        with units() as uow:
            for number in range(first, min(first + 500, count)):
                uow.record(detection(number))
            uow.commit()


Start = Callable[[int, float, float], list[Future[tuple[int, float]]]]


@contextmanager
def _writers(url: str, count: int) -> Iterator[Start]:
    """Starts so many processes, which are ready to record for some seconds, in groups of so many
    events, so many a second each: 0 for as many as they can."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:

        def start(group: int, seconds: float, rate: float) -> list[Future[tuple[int, float]]]:
            return [pool.submit(_record, url, group, seconds, rate) for _ in range(count)]

        for ready in start(1, 0.5, 0):
            ready.result()
        yield start


def _record(url: str, group: int, seconds: float, rate: float) -> tuple[int, float]:
    """How many were recorded, in how many seconds."""
    engine = open_engine(url)
    units = units_of_work(engine)
    began, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < seconds:
        if rate and done >= rate * taken:
            time.sleep(0.001)
            continue
        with units() as uow:
            for number in range(group):
                uow.record(detection(number))
            uow.commit()
        done += group
    engine.dispose()
    return done, time.perf_counter() - began


def _log(folder: Path, url: str) -> AuditLog:
    engine = open_engine(url)
    migrate(engine)
    return open_audit_log(Settings(home=folder, database_url=""), engine)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_bytes() -> int:
    """The most memory that this process had at once (``VmHWM``, which, unlike ``ru_maxrss``, is not
    that of who started it)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"The audit log on {result['machine']}", title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    for part in (name for name in result if name != "machine"):
        for name, value in _flat(result[part]):
            table.add_row(f"{part}: {name}", f"{value:.1f}")
    Console(width=100).print(table)


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}, {below}", each) for below, each in _flat(value))
        elif isinstance(value, list):
            for row in value:
                yield f"{name} in groups of {row['group']}", row["events_a_second"]
        else:
            yield name, value


if __name__ == "__main__":
    main()

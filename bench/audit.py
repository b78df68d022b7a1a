"""``python -m bench.audit``: what the audit log costs.

How long an event takes until it is on the disk and counted by a signed checkpoint; how long it
takes to check a log of a million events, in comparison with hashing its entries and no more; how
long a proof takes; and what the log adds to a `POST /v1/images`, with the model and the disk at
work, in comparison with the same requests that record nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.audit_files import write
from bench.audit_requests import request_overhead
from bench.serve import add_model_options, errors_for_people
from bench.serve_process import say
from bench.serve_settings import describe_machine
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.tiles import WIDTH
from store.audit_log import open_audit_log
from store.log_verify import verify_files
from store.settings import Settings
from store.unit_of_work import units_of_work

_ACTOR = Actor("person-0123456789abcdef", Role.REVIEWER, Authentication.PROCESS)
_PROOFS = 200


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    add_model_options(parser)
    parser.add_argument("--appends", type=int, default=300, help="Events that are timed.")
    parser.add_argument("--events", type=int, default=1_000_000, help="Of the log that is checked.")
    parser.add_argument("--requests", type=int, default=1000, help="Timed, half of them logged.")
    parser.add_argument("--no-requests", action="store_true", help="Leave out what needs a model.")
    arguments = parser.parse_args()
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="audit-") as name:
        result = measure(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": describe_machine(arguments.device)}
    found |= _appends(folder / "appends", arguments.appends)
    found |= _verification(folder / "million", arguments.events)
    if not arguments.no_requests:
        found |= request_overhead(arguments, folder / "requests")
    return found


def _appends(folder: Path, count: int) -> dict[str, float]:
    """From the event's commit to the checkpoint that counts it, one at a time, in a log that has
    some tiles already."""
    say(f"appending {count} events")
    settings = Settings(home=folder, database_url="")
    log = open_audit_log(settings)
    units = units_of_work(log.rows.engine)  # nobody else moves them on
    _record(units, 3 * WIDTH + 5)
    log.integrate()
    commits, appends = [], []
    for number in range(count):
        began = time.perf_counter()
        _record(units, 1, number)
        committed = time.perf_counter()
        log.integrate()
        commits.append(committed - began)
        appends.append(time.perf_counter() - committed)
    return {
        "commit_p50_ms": _ms(commits, 50),
        "append_p50_ms": _ms(appends, 50),
        "append_p99_ms": _ms(appends, 99),
    }


def _record(units: Any, count: int, first: int = 0) -> None:
    with units() as uow:
        for number in range(first, first + count):
            uow.record(event(number))
        uow.commit()


def event(number: int) -> Event:
    """One as a reviewer's answer leaves it, of the usual length."""
    digest = hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
    return Event(
        "classes.defined", _ACTOR, {"classes": [digest[:40], digest[24:]]}, outcome=Outcome.DONE
    )


def _verification(folder: Path, count: int) -> dict[str, float]:
    say(f"writing a log of {count} events")
    log = open_audit_log(Settings(home=folder, database_url=""))
    files = log.files
    write(log, count, event(0))
    entries = list(files.entries(count))
    rows: dict[str, list[float]] = {"verify": [], "sha256": []}
    say("checking it")
    for _ in range(3):
        rows["sha256"].append(_seconds(partial(_hash_all, entries)))
        rows["verify"].append(_seconds(partial(verify_files, files, log.key.signer().key)))
    say("proving")
    chosen = np.random.default_rng(1).integers(0, count, _PROOFS).tolist()
    proofs = [_seconds(partial(files.prove, index)) for index in chosen]
    return {
        "events": count,
        "entry_bytes": len(event(0).canonical()),
        "verify_million_seconds": median(rows["verify"]) * 1e6 / count,
        "sha256_million_seconds": median(rows["sha256"]) * 1e6 / count,
        "verify_ratio_to_sha256": median(
            verify / bare for verify, bare in zip(rows["verify"], rows["sha256"], strict=True)
        ),
        "proof_ms": _ms(proofs, 50),
        "proof_p99_ms": _ms(proofs, 99),
    }


def _hash_all(entries: Sequence[bytes]) -> None:
    sha256 = hashlib.sha256
    for entry in entries:
        sha256(entry).digest()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ms(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1000


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"The audit log on {result['machine']}", title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    for name, value in result.items():
        if name != "machine":
            table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

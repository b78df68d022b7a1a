"""What clients wait for while a candidate is tried beside the champion, and while none is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.serve_process import apply_load, say
from bench.serve_product import command
from bench.serve_ways import Server, Ways
from loop.predictions import ModelRef
from loop.trials import TrialKind

_MEASURED = ("images_per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms")
_NOTHING = {"seen": 0, "skipped": 0}


def trials(
    ways: Ways,
    server: Server,
    other: ModelRef,
    kind: TrialKind,
    share: float,
    *,
    clients: Sequence[int],
    turns: int,
    seconds: float,
    warmup: float,
) -> dict[str, Any]:
    """Measure without and with a trial of ``other``, in turns, at each number of clients.

    The trial is started and stopped by ``secondlook models``, while nothing is measured. ``seen``
    is how many images the candidate had, and ``skipped`` those that it was spared, warm-up
    included.
    """
    rows: list[dict[str, Any]] = []

    def measure(number: int, *, trial: bool) -> dict[str, Any]:
        plan = ways.plan(server, clients=number, seconds=seconds, warmup=warmup)
        found = apply_load(plan, server.pid, ways.log)
        row = {"clients": number, "trial": trial, **{name: found[name] for name in _MEASURED}}
        rows.append(row | {"failed": found["errors"] + found["rejected"], **_NOTHING})
        return rows[-1]

    for turn in range(turns):
        say(f"a {kind} of {share:.0%}, turn {turn + 1} of {turns}")
        for number in clients:
            measure(number, trial=False)
            with _trial(other, kind, share) as counted:
                measure(number, trial=True).update(counted())
    return {
        "kind": kind.value,
        "share": share,
        "turns": turns,
        "rows": medians(rows),
        "measured": rows,
    }


def medians(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number of clients without and with the trial; what failed, and what was seen
    and skipped, is of all turns."""
    found = []
    for clients, trial in sorted({(row["clients"], row["trial"]) for row in rows}):
        same = [row for row in rows if (row["clients"], row["trial"]) == (clients, trial)]
        values = {name: [row[name] for row in same if row[name] is not None] for name in _MEASURED}
        found.append(
            {
                "clients": clients,
                "trial": trial,
                **{
                    name: statistics.median(each) if each else None for name, each in values.items()
                },
                **{name: sum(row[name] for row in same) for name in ("failed", *_NOTHING)},
            }
        )
    return found


@contextmanager
def _trial(
    other: ModelRef, kind: TrialKind, share: float
) -> Iterator[Callable[[], dict[str, int]]]:
    """A running trial; gives a function that tells how many images the candidate has seen and how
    many it was spared."""
    how: tuple[str, ...] = ("--canary", f"{share:.4%}")
    if kind is TrialKind.SHADOW:
        how = ("--shadow", "--share", f"{share:.4%}")
    command("models", "promote", other.version, *how)
    try:
        yield _counted
    finally:
        command("models", "trial", "stop", "--reason", "bench")


def _counted() -> dict[str, int]:
    comparison = command("models", "trial")["comparison"]
    return {"seen": comparison["images"], "skipped": comparison["skipped"]}

"""What happens to the product's service beyond its capacity, and while its model is swapped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.serve_process import apply_load, say
from bench.serve_ways import Server, Ways
from cluster.context import engineer, running_swap
from loop.predictions import ModelRef
from loop.promoting import PREVIOUS, roll_back
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

OVERLOAD = 5
# Swaps begin so long after the load, and so long after one another.
_BETWEEN_SWAPS_SECONDS = 2.0
# The load ends with the last swap, however long that takes.
LONGEST_SECONDS = 3600.0


def overload(ways: Ways, server: Server, capacity: float, seconds: float) -> dict[str, Any]:
    """An open loop at five times ``capacity`` (images a second)."""
    rate = OVERLOAD * capacity
    say(f"overload: {rate:.0f} requests a second, due at random")
    plan = ways.plan(server, rate=rate, seconds=seconds)
    found = apply_load(plan, server.pid, ways.log)
    return {
        "requests_per_second": rate,
        "answered_per_second": found["answers"] / found["seconds"],
        "accepted_per_second": found["images_per_second"],
        **{name: found[name] for name in ("p50_ms", "p99_ms", "max_ms", "rejected")},
        **{name: found[name] for name in ("rejected_p99_ms", "rejected_with_retry_after")},
        **{name: found[name] for name in ("errors", "statuses", "latest_send_ms")},
        "load_cpu_seconds_per_request": found["load_cpu_seconds"] / max(found["answers"], 1),
    }


def swaps(ways: Ways, server: Server, clients: int, count: int, other: ModelRef) -> dict[str, Any]:
    """Swap between the champion and ``other`` ``count`` times under load."""
    say(f"{count} swaps under the load of {clients} clients")
    roll_back_once, spent = swapping(other), list[float]()

    def swap_all() -> None:
        for _ in range(count):
            time.sleep(_BETWEEN_SWAPS_SECONDS)
            begun = time.monotonic()
            roll_back_once()
            spent.append(time.monotonic() - begun)
        time.sleep(_BETWEEN_SWAPS_SECONDS)

    plan = ways.plan(server, clients=clients, seconds=LONGEST_SECONDS, versions=True)
    found = apply_load(plan, server.pid, ways.log, meanwhile=swap_all)
    kept = ("p50_ms", "p99_ms", "max_ms", "statuses", "said", "versions")
    return {
        "swaps": count,
        "swap_seconds": spent,
        "clients": clients,
        "requests": found["answers"],
        "failed": found["errors"] + found["rejected"],
        **{name: found[name] for name in kept},
    }


def swapping(other: ModelRef) -> Callable[[], None]:
    """What puts the version before into service, as ``secondlook models rollback`` does, from this
    process; ``other`` is that version at first, and then the one that served."""
    settings = load_settings()
    units, registry = open_units_of_work(settings), open_model_registry(settings)
    registry.set_alias(PREVIOUS, other)
    swap, actor = running_swap(settings), engineer(settings)

    def roll_back_once() -> None:
        roll_back(units, registry, actor=actor, reason="bench", swap=swap)

    return roll_back_once

"""``python -m bench.serve_kills``: what clients see while replicas are killed.

The product's service, as `bench.serve` starts it, with two replicas, gets requests from a few
clients that send without a pause. Again and again one replica is killed (SIGKILL), if it is asked
for so many seconds after a swap of the model, and the next one only when all are back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.serve import (
    add_model_options,
    add_other_version,
    errors_for_people,
    other_version,
    prepare,
)
from bench.serve_process import apply_load, say
from bench.serve_settings import describe_machine
from bench.serve_stress import LONGEST_SECONDS, swapping
from bench.serve_ways import Server, Ways
from cluster.running import find_running
from loop.errors import Unavailable
from loop.predictions import ModelRef
from serve.dashboard import application_of, dashboard_client
from serve.release import wait_until_served
from store.own_key import api_headers
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

# Importing torch, loading the model and measuring it, on a machine whose cores are busy.
_BACK_SECONDS = 240.0
_POLL_SECONDS = 0.1


def main() -> None:
    arguments = parser().parse_args()
    os.environ.setdefault("SECONDLOOK_REPLICAS", "2")
    if load_settings().replicas < 2:
        raise SystemExit("SECONDLOOK_REPLICAS is 1: whoever is killed then leaves nobody to ask.")
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="serve-") as name:
        result = watch(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.serve_kills", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="Print JSON for machines.")
    add_model_options(parser)
    add("--clients", type=int, default=4, help="They send without a pause.")
    add("--kills", type=int, default=6, metavar="COUNT", help="One replica each.")
    add(
        "--after-swap",
        type=float,
        metavar="SECONDS",
        help="Swap the model before each kill, and wait so long. Default: no swaps.",
    )
    add(
        "--between",
        type=float,
        default=2,
        metavar="SECONDS",
        help="After all are back, before the next.",
    )
    add_other_version(parser)
    return parser


def watch(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    options = {"ways": ("ours",), "clients": (arguments.clients,)}
    settings, versions = prepare(arguments, folder, **options)
    swaps = arguments.after_swap is not None
    other = other_version(arguments, settings, folder) if swaps else None
    ways = Ways(settings, versions, folder)
    with ways.server("ours") as server:
        found, kills = _kills(ways, server, arguments, other)
    return {
        "machine": describe_machine(settings.device),
        "command": " ".join(["python -m bench.serve_kills", *sys.argv[1:]]),
        "settings": settings.as_dict(),
        "clients": arguments.clients,
        "after_swap_seconds": arguments.after_swap,
        "load_average": os.getloadavg()[0],
        **summary(found, kills),
    }


def summary(found: dict[str, Any], kills: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a load's result and the kills in it. ``failed`` is every request that was not answered
    with 200, ``back_seconds`` from a kill until all replicas serve."""
    back = [each["back_seconds"] for each in kills]
    kept = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "statuses", "said", "versions")
    return {
        "kills": len(kills),
        "requests": found["answers"],
        "failed": found["errors"] + found["rejected"],
        "rejected": found["rejected"],
        **{name: found[name] for name in kept},
        "back_seconds": {"median": statistics.median(back), "max": max(back)} if back else None,
        "each": list(kills),
    }


def _kills(
    ways: Ways, server: Server, arguments: argparse.Namespace, other: ModelRef | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The load's result, and a row for each kill."""
    swap = swapping(other) if other is not None else None
    replicas = Replicas()
    rows: list[dict[str, Any]] = []

    def kill_all() -> None:
        for number in range(arguments.kills):
            time.sleep(arguments.between)
            rows.append(kill_one(replicas, swap, arguments.after_swap or 0.0))
            say(f"kill {number + 1} of {arguments.kills}: {rows[-1]}")
        time.sleep(arguments.between)

    say(f"{arguments.kills} kills under the load of {arguments.clients} clients")
    plan = ways.plan(server, clients=arguments.clients, seconds=LONGEST_SECONDS, versions=True)
    return apply_load(plan, server.pid, ways.log, meanwhile=kill_all), rows


def kill_one(replicas: Replicas, swap: Callable[[], None] | None, wait: float) -> dict[str, Any]:
    """Swap if there is a swap, wait so many seconds, kill, and wait until all are back."""
    row: dict[str, Any] = {}
    if swap is not None:
        begun = time.monotonic()
        swap()
        row["swap_seconds"] = time.monotonic() - begun
        time.sleep(wait)
    victim = replicas.pids()[0]
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    replicas.wait_without(victim)
    return row | {"pid": victim, "back_seconds": time.monotonic() - killed}


class Replicas:
    """Of the service that is up in this process's home."""

    def __init__(self) -> None:
        self._settings = load_settings()
        running = find_running(self._settings)
        if running is None:
            raise Unavailable("Nothing is up in the bench's home.")
        self._api_url = running.api_url
        self._dashboard_url = running.dashboard_url

    def pids(self) -> list[int]:
        with dashboard_client(self._dashboard_url) as client:
            return running_pids(application_of(client) or {"deployments": {}})

    def wait_without(self, gone: int) -> None:
        """Until that process is known to be gone and as many as there should be serve the champion.
        Raises `Unavailable` if that takes too long."""
        deadline = time.monotonic() + _BACK_SECONDS
        while True:
            pids = self.pids()
            if gone not in pids and len(pids) >= self._settings.replicas:
                break
            if time.monotonic() > deadline:
                raise Unavailable(f"A killed replica was not back after {_BACK_SECONDS:.0f} s.")
            time.sleep(_POLL_SECONDS)
        with open_units_of_work(self._settings)() as uow:
            order = uow.serving_orders.find()
        if order is not None:
            wait_until_served(self._api_url, order, _BACK_SECONDS, api_headers(self._settings))


def running_pids(application: dict[str, Any]) -> list[int]:
    """The processes of all replicas that run, in what Serve says of its application."""
    return [
        replica["pid"]
        for deployment in application["deployments"].values()
        for replica in deployment["replicas"]
        if replica["state"] == "RUNNING"
    ]


def _show(result: dict[str, Any]) -> None:
    console = Console(width=110)
    after = result["after_swap_seconds"]
    how = "" if after is None else f", each {after:g} s after a swap"
    console.print(
        f"{result['kills']} kills{how}, under {result['clients']} clients, on {result['machine']}: "
        f"{result['requests']} requests, {result['failed']} failed "
        f"({result['rejected']} of them with 429)",
        highlight=False,
    )
    for said, count in result["said"].items():
        console.print(f"  {count} x {said}", highlight=False, markup=False)
    back = result["back_seconds"]
    if back:
        console.print(
            f"slowest {result['max_ms']:.0f} ms, p99 {result['p99_ms']:.1f} ms, p50 "
            f"{result['p50_ms']:.1f} ms; all replicas back after {back['median']:.1f} s "
            f"(at most {back['max']:.1f})",
            highlight=False,
        )


if __name__ == "__main__":
    main()

"""``python -m bench.serve_memory``: whether the service's memory stays flat over many requests.

The product's service, as `bench.serve` starts it, gets requests from a few clients; its memory (the
proportional set size of the processes that a request goes through, and of all) is read every so
many of them, while they go on. What the first fifth of the requests made it grow by does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.serve import add_model_options, errors_for_people, prepare
from bench.serve_process import apply_load, say
from bench.serve_settings import describe_machine
from bench.serve_usage import memory
from bench.serve_ways import Ways

# Caches and pools fill up first: what grows after that would grow for ever.
_WARM_SHARE = 0.2
# From one reading to the next the heaps and the pages that processes share move by about so much.
_FLAT_SHARE = 0.02
# Readings, without those of the first fifth. Fewer say nothing about a slope.
_FEWEST_READINGS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serve_memory", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    add_model_options(parser)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=1000, help="Memory is read so often.")
    arguments = parser.parse_args()
    with errors_for_people(), tempfile.TemporaryDirectory(prefix="serve-") as name:
        result = watch(arguments, Path(name))
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def watch(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    options = {"ways": ("ours",), "clients": (arguments.clients,)}
    settings, versions = prepare(arguments, folder, **options)
    ways = Ways(settings, versions, folder)
    samples: list[dict[str, int]] = []
    with ways.server("ours") as server:

        def observe(event: dict[str, Any]) -> None:
            if event["event"] in ("begin", "progress"):
                held = memory(server.pid)
                samples.append(
                    {
                        "requests": event.get("requests", 0),
                        "serving_bytes": held.serving_bytes,
                        "all_bytes": held.all_bytes,
                    }
                )
                say(
                    f"{samples[-1]['requests']:6} requests: serving "
                    f"{held.serving_bytes / 1e6:.1f} MB, all {held.all_bytes / 1e6:.1f} MB"
                )

        plan = ways.plan(
            server,
            clients=arguments.clients,
            requests=arguments.requests,
            every=arguments.every,
            warmup=3.0,
        )
        found = apply_load(plan, server.pid, ways.log, observe=observe)
    return {
        "machine": describe_machine(settings.device),
        "command": " ".join(["python -m bench.serve_memory", *sys.argv[1:]]),
        "settings": settings.as_dict(),
        "images": found["images"],
        "errors": found["errors"],
        "rejected": found["rejected"],
        "samples": samples,
        **(grown := growth(samples)),
        "verdict": verdict(grown),
    }


def verdict(grown: dict[str, float]) -> str:
    if grown["readings"] < _FEWEST_READINGS:
        return "too few readings to tell"
    return "flat" if grown["growth_share"] <= _FLAT_SHARE else "not flat"


def growth(samples: Sequence[dict[str, int]]) -> dict[str, float]:
    """Bytes a thousand requests, by least squares over the readings after the first fifth of the
    requests; and the growth over those requests as a share of the first of these readings, the
    baseline."""
    last = samples[-1]["requests"]
    warm = [each for each in samples if each["requests"] >= _WARM_SHARE * last]
    requests = np.array([each["requests"] for each in warm], dtype=float)
    held = np.array([each["serving_bytes"] for each in warm], dtype=float)
    slope = float(np.polyfit(requests, held, 1)[0]) if len(warm) > 1 else 0.0
    grown = slope * float(requests[-1] - requests[0])
    return {
        "readings": len(warm),
        "baseline_requests": warm[0]["requests"],
        "baseline_bytes": warm[0]["serving_bytes"],
        "growth_bytes_per_1000": slope * 1000,
        "growth_share": grown / float(held[0]) if held[0] else 0.0,
    }


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"Memory of the service on {result['machine']}", title_justify="left")
    for column in ("requests", "serving, MB", "all, MB"):
        table.add_column(column, justify="right")
    for each in result["samples"]:
        held = (each["serving_bytes"], each["all_bytes"])
        table.add_row(str(each["requests"]), *(f"{value / 1e6:.1f}" for value in held))
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{result['images']} images, {result['errors']} errors, {result['rejected']} times 429. "
        f"From {result['baseline_bytes'] / 1e6:.1f} MB after {result['baseline_requests']} "
        f"requests it grew by {result['growth_share']:+.1%}, "
        f"{result['growth_bytes_per_1000'] / 1e6:+.2f} MB in 1000 requests: {result['verdict']}",
        highlight=False,
    )


if __name__ == "__main__":
    main()

"""Medians over the rounds of a comparison of servers, and the ratios that it is about."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any

from bench.serve_settings import F32, PRECISIONS, WAYS, Settings, describe_machine
from bench.serve_ways import Row

# The ratios are of the better of these numbers of clients: one alone does not fill a server.
MANY = (8, 32)


def summary(
    settings: Settings, rounds: Sequence[Sequence[Row]], boxes: dict[str, list[int]]
) -> dict[str, Any]:
    """Medians over the rounds, the ratios of those, and every round.

    ``ratios`` are by precision; those of the first one also stand by themselves.
    """
    rows = [_median(each) for each in zip(*map(_sorted, rounds), strict=True)]
    ratios = {precision: _ratios(rows, precision) for precision in settings.precisions}
    return {
        "machine": describe_machine(settings.device),
        "command": " ".join(["python -m bench.serve", *sys.argv[1:]]),
        "settings": settings.as_dict(),
        **ratios[settings.precisions[0]],
        "ratios": ratios,
        "rows": rows,
        "rounds": [[*map(dict, each)] for each in rounds],
        "boxes": boxes,
    }


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[int, int, int]:
    """Ways as they are named, each in its precisions, by the number of clients."""
    return WAYS.index(row["way"]), PRECISIONS.index(row["precision"]), row["clients"] or 0


def _median(rows: Sequence[Row]) -> Row:
    """``spread`` is from the slowest to the fastest round, as a share of the median."""
    first = rows[0]
    found: Row = {name: first[name] for name in ("way", "precision", "clients")}
    for name in first.keys() - found.keys():
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = statistics.median(values) if values else None
    for name in ("rejected", "errors"):
        found[name] = sum(row[name] for row in rows)
    speeds = [row["images_per_second"] for row in rows]
    middle = found["images_per_second"]
    return found | {"spread": (max(speeds) - min(speeds)) / middle if middle else None}


def _ratios(rows: Sequence[Row], precision: str) -> dict[str, float | None]:
    """Of ours in that precision: to the limit in it, to plain, and to ours in 32-bit floats."""
    ours = _best(rows, "ours", precision)
    return {
        "ratio_to_limit": _ratio(ours, _best(rows, "limit", precision)),
        "ratio_to_plain": _ratio(ours, _best(rows, "plain", F32)),
        "ratio_to_f32": None if precision == F32 else _ratio(ours, _best(rows, "ours", F32)),
    }


def _best(rows: Sequence[Row], way: str, precision: str) -> float | None:
    """The images a second at the better number of many clients, or of the limit."""
    speeds = [
        row["images_per_second"]
        for row in rows
        if (row["way"], row["precision"]) == (way, precision)
        and (row["clients"] is None or row["clients"] in MANY)
    ]
    return max(speeds, default=None)


def _ratio(ours: float | None, other: float | None) -> float | None:
    return ours / other if ours and other else None

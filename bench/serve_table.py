"""The comparison of servers as a table for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.serve_limit import INCLUDES
from bench.serve_settings import EIGHT_BITS

INT8_NOTE = (
    "int8 is another model, calibrated on the images that were sent: its change in mAP is for the "
    "gate to say (python -m bench.int8_map)."
)
_WIDTH = 120
_COLUMNS = (
    "way",
    "precision",
    "clients",
    "images/s",
    "spread",
    "p50 ms",
    "p99 ms",
    "CPU ms/image",
    "load ms/image",
    "MB",
    "errors",
    "429",
)


def show(result: dict[str, Any]) -> None:
    console, settings = Console(width=_WIDTH), result["settings"]
    height, width = settings["padded"]
    table = Table(
        title=f"{width} x {height} px, {settings['files']} images, "
        f"{settings['seconds']:g} s, median of {settings['rounds']} rounds, on "
        f"{result['machine']}",
        title_justify="left",
    )
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("way", "precision") else "right")
    for row in result["rows"]:
        table.add_row(*_cells(row))
    console.print(table)
    console.print(f"limit: {INCLUDES}.", highlight=False)
    for precision, ratios in result["ratios"].items():
        _show_ratios(console, precision, ratios)
    if EIGHT_BITS in result["ratios"]:
        console.print(INT8_NOTE, highlight=False)
    if "overload" in result:
        _show_overload(console, result["overload"])
    if "swap" in result:
        _show_swap(console, result["swap"])
    if "trial" in result:
        show_trial(result["trial"])


def show_trial(found: dict[str, Any]) -> None:
    table = Table(
        title=f"A {found['kind']} of {found['share']:.0%}, median of {found['turns']} turns",
        title_justify="left",
    )
    for column in (
        "clients",
        "",
        "images/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "seen",
        "skipped",
        "failed",
    ):
        table.add_column(column, justify="right" if column else "left")
    for row in found["rows"]:
        table.add_row(
            str(row["clients"]),
            "with" if row["trial"] else "without",
            f"{row['images_per_second']:.1f}",
            *(_ms(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms")),
            *(str(row[name]) if row["trial"] else "" for name in ("seen", "skipped")),
            str(row["failed"]),
        )
    Console(width=_WIDTH).print(table)


def _show_ratios(console: Console, precision: str, ratios: dict[str, float | None]) -> None:
    told = [
        f"{ratio:.2f} of {other}"
        for other, ratio in (
            ("the limit", ratios["ratio_to_limit"]),
            ("plain", ratios["ratio_to_plain"]),
            ("ours in f32", ratios["ratio_to_f32"]),
        )
        if ratio is not None
    ]
    if told:
        console.print(f"ours in {precision}: {', '.join(told)}", highlight=False)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["way"],
        row["precision"],
        str(row["clients"] or "-"),
        f"{row['images_per_second']:.1f}",
        "-" if row["spread"] is None else f"{row['spread']:.0%}",
        _ms(row["p50_ms"]),
        _ms(row["p99_ms"]),
        f"{row['server_cpu_seconds_per_image'] * 1000:.1f}",
        f"{row['load_cpu_seconds_per_image'] * 1000:.2f}",
        f"{row['memory_bytes'] / 1e6:.0f}",
        str(row["errors"]),
        str(row["rejected"]),
    ]


def _show_overload(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"overload: {found['requests_per_second']:.0f} requests/s due, "
        f"{found['answered_per_second']:.0f} answered, {found['accepted_per_second']:.1f} images/s "
        f"accepted with p50 {_ms(found['p50_ms'])} and p99 {_ms(found['p99_ms'])} ms (p99 "
        f"{_ms(found['steady_p99_ms'])} at {found['steady_clients']} clients); "
        f"{found['rejected']} got 429 ({found['rejected_with_retry_after']} with Retry-After, p99 "
        f"{_ms(found['rejected_p99_ms'])} ms), {found['errors']} others: {found['statuses']}",
        highlight=False,
    )


def _show_swap(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"swaps: {found['swaps']} under {found['clients']} clients, {found['requests']} requests, "
        f"{found['failed']} failed; slowest {_ms(found['max_ms'])} ms, p99 "
        f"{_ms(found['p99_ms'])} ms (without swaps {_ms(found['steady_p99_ms'])}); versions "
        f"{found['versions']}",
        highlight=False,
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

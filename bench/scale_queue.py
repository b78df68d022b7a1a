"""``python -m bench.scale_queue``: what the queue costs at ten million cases.

The same operations as `bench.queue`, in one run on one database: first with ``--rows`` divided by
``--times``, then with all of them. A table for people, ``--json`` for machines: median and 99th
percentile in milliseconds, how many times as long the larger queue takes, and on PostgreSQL how
many pages are read, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from bench.kfold_settings import CPU
from bench.queue import databases, measure
from bench.queue_pages import pages_of_queue
from bench.queue_rows import fill, multiply
from bench.serve_process import say
from bench.serve_settings import describe_machine
from store.database import migrate, open_engine

ROWS = 10_000_000
TIMES = 10
ROUNDS = 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_queue", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"Cases in the end ({ROWS}).")
    parser.add_argument("--times", type=int, default=TIMES, help="How many times the first ones.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Of each operation.")
    parser.add_argument("--on", nargs="+", metavar="NAME", help="SQLite, PostgreSQL; else both.")
    parser.add_argument("--database", help="URL of an empty database to measure, and no other.")
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(CPU), "databases": {}}
    for name, database in databases(arguments.database).items():
        if arguments.on and name not in arguments.on:
            continue
        with database() as url:
            engine = open_engine(url)
            migrate(engine)
            found = compare(engine, arguments.rows, arguments.times, arguments.rounds)
            result["databases"][name] = found
            engine.dispose()
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def compare(engine: Engine, rows: int, times: int, rounds: int) -> dict[str, Any]:
    """Both sizes, and the database's bytes with each."""
    few = rows // times
    say(f"writing {few} cases")
    fill(engine, few, say)
    found: dict[str, Any] = {"cases": [few, few * times], "bytes": [database_bytes(engine)]}
    before, pages_before = measure(engine, rounds), _pages(engine)
    say(f"writing {few * times} cases")
    multiply(engine, times, say)
    found["bytes"].append(database_bytes(engine))
    after, pages_after = measure(engine, rounds), _pages(engine)
    found["operations"] = {
        what: {
            "before": before[what],
            "after": after[what],
            "ratio": after[what]["median"] / before[what]["median"],
        }
        for what in before
    }
    found["pages"] = {what: [count, pages_after[what]] for what, count in pages_before.items()}
    return found


def _pages(engine: Engine) -> dict[str, int]:
    return pages_of_queue(engine) if engine.dialect.name == "postgresql" else {}


def database_bytes(engine: Engine) -> int:
    """What the database takes on the disk."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            size = connection.scalar(text("SELECT pg_database_size(current_database())"))
        else:
            pages = connection.scalar(text("PRAGMA page_count"))
            size = (pages or 0) * (connection.scalar(text("PRAGMA page_size")) or 0)
    return int(size or 0)


def _show(result: dict[str, Any]) -> None:
    for name, found in result["databases"].items():
        few, many = found["cases"]
        gigabytes = " and ".join(f"{size / 1e9:.1f}" for size in found["bytes"])
        title = f"{name}, milliseconds with {few} and {many} cases ({gigabytes} GB) on "
        table = Table(title=title + str(result["machine"]), title_justify="left")
        table.add_column("operation")
        for column in ("median", "p99", "median", "p99", "times", "pages", "pages"):
            table.add_column(column, justify="right")
        for what, row in found["operations"].items():
            cells = [row[when][kind] for when in ("before", "after") for kind in ("median", "p99")]
            pages = map(str, found["pages"].get(what, ("", "")))
            table.add_row(what, *(f"{cell:.1f}" for cell in cells), f"{row['ratio']:.2f}", *pages)
        Console(width=120).print(table)


if __name__ == "__main__":
    main()

"""``python -m bench``: what the loop's small operations cost here, one after the other.

A table for people, ``--json`` for machines: median and 95th percentile in milliseconds. Nothing
is compared with anything; a benchmark that compares has a module of its own, which
``python -m bench NAME`` runs as well as ``python -m bench.NAME``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from loop.agreement import AgreementSettings, LabelledBox, compare
from loop.boxes import Box
from loop.classes import ClassList
from loop.events import Actor, Authentication, Event, Role
from loop.intake import NewImage, queue_image
from loop.predictions import ModelRef
from loop.synthetic import generate
from store.audit_log import open_audit_log
from store.image_codec import Limits, encode_jpeg, encode_png, sanitise
from store.image_store import open_image_store
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work

COMPARISONS = (
    "audit",
    "canvas",
    "drift_alarms",
    "gate",
    "isolation",
    "int8_map",
    "kfold",
    "kfold_memory",
    "queue",
    "scale_folds",
    "scale_log",
    "scale_queue",
    "scale_snapshot",
    "serve",
    "serve_kills",
    "serve_memory",
)
ROUNDS = 50
EVENTS = 1000
BOXES = 50
ACTOR = Actor("bench", Role.SYSTEM, Authentication.PROCESS)
MODEL = ModelRef("bench", "1", "0" * 64)


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in COMPARISONS:
        runpy.run_module(f"bench.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.epilog = f"NAME is one of {', '.join(COMPARISONS)}; each has --help."
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as home:
        rows = _measure(load_settings(Path(home)))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if as_json:
        print(json.dumps({"machine": machine, "milliseconds": rows}, indent=2))
        return
    table = Table(title=f"Milliseconds on {machine}", title_justify="left")
    for column in ("operation", "median", "p95"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row['median']:.2f}", f"{row['p95']:.2f}")
    Console(width=100).print(table)


def _measure(settings: Settings) -> dict[str, dict[str, float]]:
    units, images = open_units_of_work(settings), open_image_store(settings)
    with units() as uow:
        uow.classes.set(ClassList(("cell",)))
        uow.record(Event("bench.recorded", ACTOR, {}))
        uow.commit()
    pictures = [image.pixels for image in generate(ROUNDS, seed=1, size=128)]
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    rng = np.random.default_rng(1)
    photo = encode_jpeg(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))
    left, right = _cells(rng), _cells(rng)

    def queue(index: int) -> None:
        new = NewImage(encode_png(pictures[index]), "image/png", 128, 128)
        queue_image(units, images, new, model=MODEL, detections=(), actor=ACTOR)

    def record(index: int) -> None:
        with units() as uow:
            uow.record(Event("bench.recorded", ACTOR, {}, {"index": index}))
            uow.commit()

    rows = {
        "sanitise a 640x480 JPEG of noise": _timed(lambda _: sanitise(photo, limits)),
        f"agreement of {BOXES} with {BOXES} boxes": _timed(
            lambda _: compare(left, right, AgreementSettings())
        ),
        "queue an image (database, log and disk)": _timed(queue),
        "record an event (database and log)": _timed(record),
    }
    for index in range(EVENTS - ROUNDS):
        record(index)
    log = open_audit_log(settings)
    size = log.verify().size
    rows[f"verify a log of {size} events"] = _timed(lambda _: log.verify(), rounds=5)
    return rows


def _cells(rng: np.random.Generator) -> list[LabelledBox]:
    corners = rng.uniform(0, 600, (BOXES, 2))
    sides = rng.uniform(20, 100, (BOXES, 2))
    return [
        LabelledBox(str(i), Box(x, y, x + w, y + h), 0)
        for i, ((x, y), (w, h)) in enumerate(zip(corners.tolist(), sides.tolist(), strict=True))
    ]


def _timed(operation: Callable[[int], object], rounds: int = ROUNDS) -> dict[str, float]:
    operation(0)  # imports, caches and the first file of a folder are not what is measured
    spent = []
    for index in range(rounds):
        started = time.perf_counter()
        operation(index)
        spent.append((time.perf_counter() - started) * 1000)
    return {"median": float(np.median(spent)), "p95": float(np.percentile(spent, 95))}


if __name__ == "__main__":
    main()

"""``python -m bench.scale_snapshot``: what a snapshot of many images costs in time and memory.

Written for the first time, opened, and written again with one more correction, each in a process
of its own; images are made up, of some hundred bytes each. Times are told as wall and CPU seconds
(on a machine that does other things as well, the latter compare), memory as bytes an image: that
of the answers, which whoever writes has in memory before, and the peak beyond it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.serve_process import say
from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.images import Image
from loop.near_duplicates import DEFAULT_DISTANCE, near_duplicate_groups
from loop.predictions import Detection, ModelRef, Prediction
from loop.snapshots import Labels
from store.snapshot_files import SnapshotEntry, open_snapshot, read_manifest, write_snapshot

_CLASSES = ClassList(tuple(f"class_{number}" for number in range(12)))
_AT = "2026-01-01T00:00:00.000000Z"
_MODEL = ModelRef("detector", "12", "0" * 64)
_FILLING = b"\xff\xd8" + bytes(range(236))  # with the id, an image of 300 bytes
_READS = 200


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale_snapshot", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="Sizes, in images.")
    add("--boxes", type=int, default=3, help="Of each image, two of them detected.")
    add("--hashes", type=int, nargs="+", default=[], help="Near-duplicates among so many.")
    add("--json", action="store_true", help="Print JSON for machines.")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from bench.kfold_settings import CPU
    from bench.serve_settings import describe_machine  # imports torch, which the others need not

    found: list[dict[str, float]] = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="scale-snapshot-") as name:
            row: dict[str, float] = {"rows": rows}
            for part in (written, opened, corrected):
                say(f"{rows} images: {part.__name__}")
                row |= _alone(part, Path(name) / "snapshot", rows, arguments.boxes)
            found.append(row)
    near = [_alone(near_duplicates, count) for count in arguments.hashes]
    return {
        "machine": describe_machine(CPU),
        "boxes": arguments.boxes,
        "sizes": found,
        "near": near,
    }


def written(folder: Path, rows: int, boxes: int) -> dict[str, float]:
    begin = _resident()
    entries = [entry(number, boxes) for number in range(rows)]
    before = _resident()
    spent = _spent(lambda: _write(folder, entries))
    manifest = read_manifest(folder)
    return {
        "entries_bytes_a_row": (before - begin) / rows,
        **_named("write", spent, rows, _peak() - before),
        "annotation_bytes_a_row": sum(shard.bytes for shard in manifest.annotation_shards) / rows,
        "image_bytes_a_row": sum(shard.bytes for shard in manifest.image_shards) / rows,
    }


def opened(folder: Path, rows: int, boxes: int) -> dict[str, float]:
    del boxes
    before = _resident()
    began = time.perf_counter(), time.process_time()
    snapshot = open_snapshot(folder, verify=True)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    held = _resident() - before
    chosen = np.random.default_rng(1).integers(0, rows, _READS).tolist()
    reads = []
    for row in chosen:
        at = time.perf_counter()
        snapshot.image_bytes(snapshot.samples[row].image_id)
        reads.append(time.perf_counter() - at)
    return {
        **_named("open", spent, rows, _peak() - before),
        "opened_bytes_a_row": held / rows,
        "image_read_ms": float(np.median(reads)) * 1000,
    }


def corrected(folder: Path, rows: int, boxes: int) -> dict[str, float]:
    """One image more was corrected again, and nothing else."""
    there = {path.name for path in folder.glob("*/*.parquet")}
    entries = [entry(number, boxes) for number in range(rows)]
    entries[rows // 2] = replace(entries[rows // 2], version=2, annotation_id="again", boxes=())
    before = _resident()
    spent = _spent(lambda: _write(folder, entries))
    added = [path for path in folder.glob("*/*.parquet") if path.name not in there]
    return {
        **_named("correct", spent, rows, _peak() - before),
        "added_files": len(added),
        "added_bytes": sum(path.stat().st_size for path in added),
    }


def near_duplicates(count: int) -> dict[str, float]:
    """Random hashes are like no others: the work is finding that out."""
    values = np.random.default_rng(1).integers(0, 2**63, count, dtype=np.uint64).tolist()
    hashes = [f"{value:016x}" for value in values]
    wall, cpu = _spent(lambda: near_duplicate_groups(hashes, DEFAULT_DISTANCE))
    return {"hashes": count, "seconds": wall, "cpu_seconds": cpu}


def entry(number: int, boxes: int) -> SnapshotEntry:
    """An answer with so many boxes, of which the model had seen two."""
    id = hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
    final = tuple(_final(id, each) for each in range(boxes))
    detections = tuple(
        Detection(f"{id[:20]}{each}", box.box, box.class_id, 0.5 + each / 10)
        for each, box in enumerate(final[:2])
    )
    return SnapshotEntry(
        image=Image(
            id, 640, 480, "image/jpeg", f"subject-{number // 20}", "upload", _AT, phash=id[:16]
        ),
        annotation_id=id[:32],
        version=1,
        source="second_review",
        boxes=final,
        reviewers=(f"person-{number % 100:016x}", f"person-{number % 99:016x}"),
        prediction=Prediction(id[8:40], id, _MODEL, detections, _AT),
    )


def _final(id: str, each: int) -> FinalBox:
    left, top = int(id[each : each + 2], 16) + 0.5, int(id[each + 2 : each + 4], 16) + 0.25
    box = Box(left, top, left + 40 + each, top + 30)
    detected = f"{id[:20]}{each}" if each < 2 else None
    origin = Origin.ACCEPTED if detected else Origin.ADDED
    return FinalBox(f"{id[20:40]}{each}", box, int(id[each], 16) % len(_CLASSES), origin, detected)


def _write(folder: Path, entries: list[SnapshotEntry]) -> None:
    write_snapshot(
        folder, Labels.ADJUDICATED, _CLASSES, entries, lambda image: _FILLING + image.encode()
    )


def _alone(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """In a new process, whose memory is that of this work."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _named(name: str, spent: tuple[float, float], rows: int, peak_bytes: int) -> dict[str, float]:
    wall, cpu = spent
    return {
        f"{name}_seconds": wall,
        f"{name}_cpu_us_a_row": cpu / rows * 1e6,
        f"{name}_peak_bytes_a_row": peak_bytes / rows,
    }


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))


def _show(result: dict[str, Any]) -> None:
    sizes = result["sizes"]
    title = f"A snapshot with {result['boxes']} boxes an image on {result['machine']}"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for row in sizes:
        table.add_column(f"{row['rows']} images", justify="right")
    for name in (name for name in (sizes[0] if sizes else {}) if name != "rows"):
        table.add_row(name, *(f"{row[name]:.1f}" for row in sizes))
    for row in result["near"]:
        table.add_row(f"near-duplicates among {row['hashes']}, CPU s", f"{row['cpu_seconds']:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

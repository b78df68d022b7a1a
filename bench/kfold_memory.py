"""``python -m bench.kfold_memory``: what decoded images cost when k folds share them.

For each k, so many processes read every image, once from Ray's object store and once decoded by
each for itself. Memory is that of all processes together (PSS), at its peak, above what they take
before there are images; bytes written are those of images on disk.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from bench.kfold_data import make_workspace
from bench.kfold_settings import CPU, Settings, add_data_options, data_of, machine
from bench.kfold_usage import Sampler
from bench.kfold_writes import ImageWrites
from store.snapshot_files import Snapshot
from train.decoded import DecodedImages, ImageSource, decode_images
from train.shared_images import share_images

FOLDS = (2, 5, 10)


@dataclass(frozen=True, slots=True)
class Cost:
    peak_memory_bytes: int
    image_bytes_written: int


@dataclass(frozen=True, slots=True)
class _Decoding:
    """Not shared: each process that opens it has a copy of its own."""

    snapshot: Snapshot
    image_size: int

    def open(self) -> DecodedImages:
        rows = range(len(self.snapshot.samples))
        return DecodedImages([*decode_images(self.snapshot, rows, self.image_size, threads=1)])


@ray.remote(num_cpus=0)
class _Reader:
    """Stands for a fold's worker."""

    def ready(self) -> None:
        """Libraries are not what is measured."""
        import train.decoded
        import train.shared_images  # noqa: F401

    def read(self, source: ImageSource) -> int:
        images = source.open()
        if images is None:
            raise RuntimeError("The images are lost.")
        self._images = images  # as a fold does, for as long as it trains
        return sum(int(images.image(image_id).sum()) for image_id in images)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kfold_memory", description=__doc__)
    add_data_options(parser)
    parser.add_argument("--k", type=int, nargs="+", default=FOLDS, help="How many folds.")
    arguments = parser.parse_args()
    settings = Settings(
        images=arguments.images, image_size=arguments.image_size, data=data_of(arguments)
    )
    with tempfile.TemporaryDirectory(prefix="kfold-") as name:
        folder = Path(name)
        snapshot = make_workspace(folder, settings).snapshot
        rows = {k: _costs(k, folder, snapshot, settings.image_size) for k in arguments.k}
    result = {
        "machine": machine(CPU),
        "command": " ".join(["python -m bench.kfold_memory", *sys.argv[1:]]),
        "settings": {"images": len(snapshot.samples), "image_size": settings.image_size},
        "k": {str(k): {way: asdict(cost) for way, cost in row.items()} for k, row in rows.items()},
    }
    print(json.dumps(result, indent=2)) if arguments.json else _show(result)


def _costs(k: int, folder: Path, snapshot: Snapshot, image_size: int) -> dict[str, Cost]:
    rows = range(len(snapshot.samples))
    return {
        "shared": _cost(k, folder, lambda: share_images(snapshot, rows, image_size)),
        "own": _cost(k, folder, lambda: _Decoding(snapshot, image_size)),
    }


def _cost(k: int, folder: Path, make_source: Callable[[], ImageSource | None]) -> Cost:
    with ImageWrites(folder) as writes, _ray(folder / "t"):
        readers = [_Reader.remote() for _ in range(k)]  # type: ignore[attr-defined]
        ray.get([reader.ready.remote() for reader in readers])
        sampler = Sampler(os.getpid())
        before = sampler.memory_bytes()
        with sampler:
            source = make_source()
            if source is None:
                raise SystemExit("The images do not fit into Ray's object store: use fewer.")
            ray.get([reader.read.remote(source) for reader in readers])
        peak = sampler.usage(0).peak_memory_bytes
    return Cost(peak - before, writes.nbytes)


@contextmanager
def _ray(temporary: Path) -> Iterator[None]:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(temporary),
    )
    try:
        yield
    finally:
        ray.shutdown()


def _show(result: dict[str, Any]) -> None:
    settings = result["settings"]
    table = Table(
        title=f"{settings['images']} images at {settings['image_size']} px on {result['machine']}",
        title_justify="left",
    )
    table.add_column("k", justify="right")
    for way in ("shared", "own"):
        table.add_column(f"{way}: peak memory, MB", justify="right")
        table.add_column(f"{way}: image bytes written", justify="right")
    for k, row in result["k"].items():
        cells = []
        for cost in row.values():
            cells += [f"{cost['peak_memory_bytes'] / 1e6:.0f}", str(cost["image_bytes_written"])]
        table.add_row(k, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

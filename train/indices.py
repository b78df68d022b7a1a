"""Splits on disk: one small Parquet file that says which image of a snapshot goes where.

Images are never copied for a fold: ``rows`` are places in ``Snapshot.samples``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loop.errors import BrokenRecord, NotFound
from store.snapshot_files import Snapshot
from store.snapshot_shards import sha256_of_file

# In place of a fold: images that no fold trains or validates on.
GOLD_FOLD = -1
EXCLUDED_FOLD = -2
# Parts of the standard split.
TRAIN, VAL, GOLD, EXCLUDED = "train", "val", "gold", "excluded"
_DISTANCE = "near_duplicate_distance"  # in files from before it, images were kept by subject only


@dataclass(frozen=True, slots=True)
class FoldIndex:
    """``fold[i]`` is the fold of ``snapshot.samples[rows[i]]``; `GOLD_FOLD` and `EXCLUDED_FOLD` are
    none. ``sha256`` is that of the file; ``near_duplicate_distance`` is what kept images together,
    -1 if only their subjects did."""

    snapshot_sha256: str
    sha256: str
    k: int
    seed: int
    image_ids: tuple[str, ...]
    rows: NDArray[np.int32]
    fold: NDArray[np.int8]
    near_duplicate_distance: int = -1

    def train_rows(self, fold: int) -> list[int]:
        rows: list[int] = self.rows[(self.fold >= 0) & (self.fold != fold)].tolist()
        return rows

    def val_rows(self, fold: int) -> list[int]:
        rows: list[int] = self.rows[self.fold == fold].tolist()
        return rows


@dataclass(frozen=True, slots=True)
class SplitIndex:
    """``part[i]`` is train, val, gold or excluded for ``snapshot.samples[rows[i]]``."""

    snapshot_sha256: str
    sha256: str
    seed: int
    image_ids: tuple[str, ...]
    rows: NDArray[np.int32]
    part: tuple[str, ...]
    near_duplicate_distance: int = -1

    def rows_of(self, part: str) -> list[int]:
        return [int(row) for row, own in zip(self.rows, self.part, strict=True) if own == part]


def write_folds(
    path: Path, snapshot: Snapshot, fold: NDArray[np.int8], *, k: int, seed: int, distance: int = -1
) -> FoldIndex:
    """``fold`` is in the order of ``snapshot.samples``."""
    metadata = {"k": k, "seed": seed, _DISTANCE: distance}
    _write(path, snapshot, pa.field("fold", pa.int8()), fold, metadata)
    return read_folds(path)


def write_split(
    path: Path,
    snapshot: Snapshot,
    part: Sequence[str],
    *,
    val_fraction: float,
    seed: int,
    distance: int = -1,
) -> SplitIndex:
    """``part`` is in the order of ``snapshot.samples``."""
    metadata = {"val_fraction": val_fraction, "seed": seed, _DISTANCE: distance}
    _write(path, snapshot, pa.field("part", pa.string()), part, metadata)
    return read_split(path)


def read_folds(path: Path) -> FoldIndex:
    """Raises `NotFound`, `BrokenRecord`."""
    table, metadata = _read(path, "kfold_data_formatting", ("k", "seed"))
    return FoldIndex(
        snapshot_sha256=metadata["snapshot_sha256"],
        sha256=sha256_of_file(path),
        k=int(metadata["k"]),
        seed=int(metadata["seed"]),
        image_ids=tuple(table["image_id"]),
        rows=np.array(table["row"], dtype=np.int32),
        fold=np.array(table["fold"], dtype=np.int8),
        near_duplicate_distance=int(metadata.get(_DISTANCE, -1)),
    )


def read_split(path: Path) -> SplitIndex:
    """Raises `NotFound`, `BrokenRecord`."""
    table, metadata = _read(path, "data_formatting", ("seed",))
    return SplitIndex(
        snapshot_sha256=metadata["snapshot_sha256"],
        sha256=sha256_of_file(path),
        seed=int(metadata["seed"]),
        image_ids=tuple(table["image_id"]),
        rows=np.array(table["row"], dtype=np.int32),
        part=tuple(table["part"]),
        near_duplicate_distance=int(metadata.get(_DISTANCE, -1)),
    )


def check_index(index: FoldIndex | SplitIndex, snapshot: Snapshot) -> None:
    """Raise `BrokenRecord` if ``index`` was made for another snapshot."""
    ids = [sample.image_id for sample in snapshot.samples]
    rows = index.rows.tolist()
    if index.snapshot_sha256 != snapshot.sha256 or [ids[row] for row in rows] != [*index.image_ids]:
        raise BrokenRecord(
            f"The split was made for snapshot {index.snapshot_sha256[:12]}, and this is "
            f"{snapshot.sha256[:12]}.",
            hint="Run the stages with `dvc repro`, which makes it anew.",
        )


def _write(
    path: Path,
    snapshot: Snapshot,
    column: pa.Field,
    values: Sequence[str] | NDArray[np.int8],
    metadata: Mapping[str, Any],
) -> None:
    texts = {"snapshot_sha256": snapshot.sha256} | {k: str(v) for k, v in metadata.items()}
    schema = pa.schema(
        [pa.field("image_id", pa.string()), pa.field("row", pa.int32()), column], metadata=texts
    )
    rows = np.arange(len(snapshot.samples), dtype=np.int32)
    image_ids = [sample.image_id for sample in snapshot.samples]
    table = pa.table([image_ids, rows, pa.array(values, column.type)], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Every option is set, so that the same split is the same bytes.
    pq.write_table(table, path, version="2.6", compression="zstd", write_statistics=False)


def _read(
    path: Path, stage: str, numbers: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    if not path.is_file():
        raise NotFound(f"There is no {path}.", hint=f"Run `dvc repro {stage}` first.")
    try:
        table = pq.read_table(path)
        metadata = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
        for name in ("snapshot_sha256", *numbers):
            metadata[name]
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise BrokenRecord(
            f"{path} is not a split: {error!r}.", hint=f"Make it anew: dvc repro -f {stage}"
        ) from error
    return columns, metadata

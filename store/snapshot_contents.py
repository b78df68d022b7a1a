"""Which answers snapshots hold, by the shards that lie on this machine.

A shard counts only with the digest that the manifest gives it, and a manifest with that of the
snapshot: what is told is what the audit log has on record, whoever could write to the files.
Shards are only ever added, so that those of an older snapshot are in the folder of a later one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loop.errors import LoopError
from loop.snapshots import Manifest, Shard
from store.snapshot_files import read_manifest
from store.snapshot_shards import check_shard

# Of a million answers each takes some 40 MB.
_KEPT = 4
_COLUMNS = ["image_id", "version", "annotation_id", "gold"]

FindManifest = Callable[[str], Manifest | None]


@dataclass(frozen=True, slots=True)
class _Answers:
    ids: pa.ChunkedArray
    gold: pa.ChunkedArray


class SnapshotContents:
    """``folders`` are where snapshots may lie; ``find_manifest`` gives that of a digest, as the
    database has it."""

    def __init__(self, folders: Sequence[Path], find_manifest: FindManifest) -> None:
        self._folders = tuple(folders)
        self._find = find_manifest
        self._lock = threading.Lock()
        # What is not there may come: only what was found is kept.
        self._known = lru_cache(_KEPT)(self._checked)

    def first(self, snapshot_sha256: str, limit: int) -> tuple[list[str], int] | None:
        """As `loop.tracing.KnowsSnapshots`; by image id."""
        answers = self._answers(snapshot_sha256)
        if answers is None:
            return None
        return answers.ids.slice(0, limit).to_pylist(), len(answers.ids)

    def holds(self, snapshot_sha256: str, answers: Sequence[str]) -> dict[str, bool] | None:
        found = self._answers(snapshot_sha256)
        if found is None:
            return None
        there = pc.is_in(found.ids, pa.array(answers, pa.string()))
        ids, gold = found.ids.filter(there).to_pylist(), found.gold.filter(there).to_pylist()
        return dict(zip(ids, gold, strict=True))

    def _answers(self, snapshot_sha256: str) -> _Answers | None:
        try:
            with self._lock:
                return self._known(snapshot_sha256)
        except (LoopError, pa.ArrowException, OSError):
            return None

    def _checked(self, snapshot_sha256: str) -> _Answers:
        manifest = self._manifest(snapshot_sha256)
        return _latest([self._read(shard) for shard in manifest.annotation_shards])

    def _manifest(self, snapshot_sha256: str) -> Manifest:
        manifest = self._find(snapshot_sha256)
        if manifest is not None and manifest.sha256 == snapshot_sha256:
            return manifest
        for folder in self._folders:
            if (folder / "manifest.json").is_file():
                manifest = read_manifest(folder)
                if manifest.sha256 == snapshot_sha256:
                    return manifest
        raise FileNotFoundError(snapshot_sha256)

    def _read(self, shard: Shard) -> pa.Table:
        for folder in self._folders:
            if (folder / shard.path).is_file():
                check_shard(folder, shard, contents=True)
                return pq.read_table(folder / shard.path, columns=_COLUMNS)
        raise FileNotFoundError(shard.path)


def _latest(shards: Sequence[pa.Table]) -> _Answers:
    """Of each image the row with the highest version, of equal ones that of the later shard."""
    if not shards:
        none = pa.chunked_array([[]], pa.string())
        return _Answers(none, pa.chunked_array([[]], pa.bool_()))
    numbered = [
        table.append_column("shard", pa.array([number] * len(table), pa.int32()))
        for number, table in enumerate(shards)
    ]
    keys = [("image_id", "ascending"), ("version", "ascending"), ("shard", "ascending")]
    table = pa.concat_tables(numbered).sort_by(keys)
    images = table.column("image_id")
    last = pc.not_equal(images.slice(0, len(images) - 1), images.slice(1))
    kept = pa.chunked_array([*last.chunks, pa.array([True] * min(1, len(images)))], pa.bool_())
    table = table.filter(kept)
    return _Answers(table.column("annotation_id"), table.column("gold"))

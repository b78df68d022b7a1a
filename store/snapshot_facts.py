"""What the shards of a snapshot say about where its images and answers come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from loop.errors import NotFound
from loop.techfile_records import SnapshotFacts
from store.snapshot_files import MANIFEST, latest_rows, read_manifest
from store.snapshot_rows import Row
from store.snapshot_shards import check_shard, read_annotations


def snapshot_facts(
    folder: Path, sha256: str, progress: Callable[[int, int], None]
) -> SnapshotFacts | None:
    """Of the snapshot ``sha256`` if that is what lies in ``folder``; None where it is another one.

    The annotation shards' digests are checked, image shards are not opened. ``progress`` is called
    with (shards read, shards). Raises `BrokenRecord`.
    """
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    if manifest.sha256 != sha256:
        return None
    tables: list[list[Row]] = []
    for done, shard in enumerate(manifest.annotation_shards):
        progress(done, len(manifest.annotation_shards))
        check_shard(folder, shard, contents=True)
        tables.append(read_annotations(folder, shard))
    rows = list(latest_rows(tables).values())
    if not rows:
        raise NotFound(f"The snapshot in {folder} has no annotations.")
    models = Counter(
        f"{row['model']['name']} version {row['model']['version']}" for row in rows if row["model"]
    )
    return SnapshotFacts(
        sources=_counted(row["image_source"] for row in rows),
        answers=_counted(row["source"] for row in rows),
        origins=_counted(box["origin"] for row in rows for box in row["boxes"]),
        images_per_subject=sorted(Counter(row["subject"] for row in rows).values()),
        reviewers=len({person for row in rows for person in row["reviewers"]}),
        widths=_range(row["width"] for row in rows),
        heights=_range(row["height"] for row in rows),
        models=dict(sorted(models.items())),
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(Counter(values).most_common())


def _range(values: Iterable[int]) -> tuple[int, int]:
    found = list(values)
    return min(found), max(found)

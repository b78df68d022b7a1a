"""Snapshots in a bucket, for machines that have no disk in common with the one that made them.

A shard lies there by its digest, so that what several snapshots share is there once. The manifest
is put last: where it is, all of its shards are.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loop.errors import BrokenRecord
from loop.events import canonical_json
from loop.snapshots import Manifest, Shard
from store.objects import Objects
from store.snapshot_files import MANIFEST, Snapshot, open_snapshot
from store.snapshot_shards import sha256_of_file, write_durably

_PREFIX = "snapshots/"


def put_snapshot(objects: Objects, snapshot: Snapshot) -> None:
    """Put what of ``snapshot`` is not there yet. Raises what `Objects` does."""
    manifest = snapshot.manifest
    if objects.info(_manifest_key(snapshot.sha256)) is not None:
        return
    for shard in (*manifest.image_shards, *manifest.annotation_shards):
        there = objects.info(_shard_key(shard))
        if there is None or there.size != shard.bytes:
            objects.put_file(_shard_key(shard), snapshot.folder / shard.path)
    objects.put(_manifest_key(snapshot.sha256), canonical_json(manifest.as_dict()))


def fetch_snapshot(objects: Objects, sha256: str, cache: Path, *, images: bool) -> Snapshot:
    """The snapshot with this digest, in a folder of ``cache``; without ``images`` only what people
    said of them. Processes of one machine fetch each shard once.

    Raises `NotFound` if it was never put there, `BrokenRecord` if it was changed since.
    """
    folder = cache / sha256
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _turn(folder):
        manifest = _fetch_manifest(objects, sha256, folder)
        shards = [*manifest.annotation_shards, *(manifest.image_shards if images else ())]
        for shard in shards:
            if not _is_here(folder, shard):
                _fetch_shard(objects, folder, shard)
    return open_snapshot(folder, verify=False, images=images)


def _fetch_manifest(objects: Objects, sha256: str, folder: Path) -> Manifest:
    data = objects.get(_manifest_key(sha256))
    try:
        manifest = Manifest.from_dict(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(f"The manifest of snapshot {sha256[:12]} is none: {error!r}.") from error
    if manifest.sha256 != sha256:
        raise _broken(f"The manifest of snapshot {sha256[:12]} has another digest.")
    write_durably(folder / MANIFEST, data)
    return manifest


def _fetch_shard(objects: Objects, folder: Path, shard: Shard) -> None:
    path = folder / shard.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise _broken(f"A snapshot names {shard.path!r}, which is no shard.")
    draft = path.with_name(f".{path.name}.fetched")
    objects.get_file(_shard_key(shard), draft)
    try:
        if sha256_of_file(draft) != shard.sha256:
            raise _broken(f"Shard {shard.path} does not match its digest.")
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _is_here(folder: Path, shard: Shard) -> bool:
    path = folder / shard.path
    return path.is_file() and path.stat().st_size == shard.bytes


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _broken(what: str) -> BrokenRecord:
    return BrokenRecord(what, hint="Delete snapshots/ in the bucket: the next training puts it.")


def _manifest_key(sha256: str) -> str:
    return f"{_PREFIX}manifests/{sha256}.json"


def _shard_key(shard: Shard) -> str:
    return f"{_PREFIX}shards/{shard.sha256}.parquet"

"""Snapshots in a bucket, for machines that have no disk in common with the one that made them.

A shard lies there by its digest, so that what several snapshots share is there once. The manifest
is put last: where it is, all of its shards are.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
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
# Empty files of a cached snapshot: whoever fetches into it locks the one, whoever reads it keeps
# the other locked, and the time of that one is when it was last wanted.
_TURN, _IN_USE, _REMOVED = ".lock", ".in-use", ".removed-"
_KEPT_UNUSED_S = 24 * 3600.0
# Of this process, by folder: an open file has its lock until the process ends, however it ends.
_held: dict[Path, int] = {}


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
    said of them. Processes of one machine fetch each shard once. It stays in the cache for as long
    as this process lives, and for a day more; snapshots that nobody used for so long go now.

    Raises `NotFound` if it was never put there, `BrokenRecord` if it was changed since.
    """
    folder = cache / sha256
    _hold(folder)
    remove_unused_snapshots(cache)
    with _turn(folder):
        manifest = _fetch_manifest(objects, sha256, folder)
        shards = [*manifest.annotation_shards, *(manifest.image_shards if images else ())]
        for shard in shards:
            if not _is_here(folder, shard):
                _fetch_shard(objects, folder, shard)
    return open_snapshot(folder, verify=False, images=images)


def remove_unused_snapshots(cache: Path, *, unused_seconds: float = _KEPT_UNUSED_S) -> None:
    """Remove what no process of this machine reads and none wanted for so long. Images are personal
    data, and a machine that trains is not where they are to stay."""
    for folder in list(cache.iterdir()) if cache.is_dir() else ():
        with suppress(OSError):  # somebody uses it or removes it, or it is nothing of ours
            if not folder.name.startswith(_REMOVED):
                descriptor = os.open(folder / _IN_USE, os.O_RDWR)
                try:
                    if time.time() - os.fstat(descriptor).st_mtime < unused_seconds:
                        continue
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    folder = folder.rename(folder.with_name(f"{_REMOVED}{secrets.token_hex(8)}"))
                finally:
                    os.close(descriptor)
            shutil.rmtree(folder)


def _hold(folder: Path) -> None:
    """Make ``folder``, which nobody removes as long as this process lives."""
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / _IN_USE
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # it was removed in between
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(descriptor)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                break
        os.close(descriptor)  # of a folder that was removed before this got its lock
    before = _held.pop(folder, None)
    if before is not None:
        os.close(before)
    _held[folder] = descriptor


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
    descriptor = os.open(folder / _TURN, os.O_CREAT | os.O_RDWR, 0o600)
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

"""What stays of snapshots on a machine that fetched them."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from store.objects import Bucket
from store.snapshot_files import Snapshot
from store.snapshot_objects import fetch_snapshot, put_snapshot, remove_unused_snapshots
from tests.s3 import S3Server, open_bucket
from tests.train.generated import generated_snapshot

DAYS_AGO = time.time() - 3 * 24 * 3600


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return generated_snapshot(tmp_path / "made", 4)


@pytest.fixture
def objects(s3: S3Server, snapshot: Snapshot) -> Bucket:
    objects = open_bucket(s3.bucket())
    put_snapshot(objects, snapshot)
    return objects


def fetch_and_wait(objects: Bucket, sha256: str, cache: Path, pipe: Connection) -> None:
    fetch_snapshot(objects, sha256, cache, images=True)
    pipe.send("fetched")
    pipe.recv()


def left_behind(objects: Bucket, snapshot: Snapshot, cache: Path) -> Path:
    """The folder of a snapshot that a process which ended had wanted days ago."""
    pipe, other = multiprocessing.Pipe()
    process = _process(objects, snapshot, cache, other)
    assert pipe.recv() == "fetched"
    pipe.send("end")
    process.join()
    folder = cache / snapshot.sha256
    os.utime(folder / ".in-use", (DAYS_AGO, DAYS_AGO))
    return folder


def _process(
    objects: Bucket, snapshot: Snapshot, cache: Path, pipe: Connection
) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=fetch_and_wait, args=(objects, snapshot.sha256, cache, pipe)
    )
    process.start()
    return process


def test_another_snapshot_takes_the_place_of_what_nobody_used_for_days(
    objects: Bucket, snapshot: Snapshot, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    folder = left_behind(objects, snapshot, cache)
    newer = generated_snapshot(tmp_path / "newer", 5)
    put_snapshot(objects, newer)
    fetched = fetch_snapshot(objects, newer.sha256, cache, images=True)
    assert not folder.exists()
    assert [path.name for path in cache.iterdir()] == [newer.sha256]
    assert len(fetched.samples) == 5


def test_what_was_wanted_lately_stays_and_is_not_fetched_again(
    objects: Bucket, snapshot: Snapshot, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    folder = left_behind(objects, snapshot, cache)
    shards = {path: path.stat().st_ino for path in folder.rglob("*.parquet")}
    fetch_snapshot(objects, snapshot.sha256, cache, images=True)  # wants it now
    remove_unused_snapshots(cache)
    assert {path: path.stat().st_ino for path in folder.rglob("*.parquet")} == shards


def test_what_a_process_reads_is_not_removed_however_old(
    objects: Bucket, snapshot: Snapshot, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    pipe, other = multiprocessing.Pipe()
    process = _process(objects, snapshot, cache, other)
    try:
        assert pipe.recv() == "fetched"
        folder = cache / snapshot.sha256
        os.utime(folder / ".in-use", (DAYS_AGO, DAYS_AGO))
        remove_unused_snapshots(cache)
        assert (folder / "manifest.json").exists()
    finally:
        process.kill()
        process.join()
    remove_unused_snapshots(cache)
    assert not folder.exists()


def test_a_removal_that_was_cut_off_is_finished_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / ".removed-1").mkdir()
    (tmp_path / ".removed-1" / "shard.parquet").touch()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "file").touch()
    remove_unused_snapshots(tmp_path, unused_seconds=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "theirs"]
    remove_unused_snapshots(tmp_path / "nothing")

"""Folds whose workers share no disk with the driver: what lies in the bucket between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from loop.errors import BrokenRecord, TrainingFailed, Unavailable
from store.objects import Bucket
from store.snapshot_files import Snapshot
from store.snapshot_objects import put_snapshot
from tests.s3 import S3Server, open_bucket
from tests.train import light_job
from tests.train.generated import generated_snapshot, small_spec
from train import far_training
from train.far_training import FarMirror, FarTraining, FarWorkplace, patiently
from train.fold_checkpoints import Checkpoints, is_intact
from train.fold_job import FoldFailure, FoldResult, FoldTask, Keep, read_state
from train.fold_worker import work

EPOCHS = 4


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(light_job, "EPOCH_S", 0)
    monkeypatch.setenv("SECONDLOOK_MACHINE_CACHE", str(tmp_path / "worker"))


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return open_bucket(s3.bucket())


@pytest.fixture
def task(bucket: Bucket, tmp_path: Path) -> FoldTask:
    """As a driver makes it: its paths mean nothing to the worker."""
    far = FarTraining(bucket, "run1", "0" * 64)
    nowhere = tmp_path / "not-here"
    spec = small_spec(Path(), epochs=EPOCHS)
    return FoldTask(0, "fold run", nowhere, (0,), (1,), spec, nowhere, far=far)


def mirror_of(task: FoldTask, folder: Path) -> FarMirror:
    assert task.far is not None
    folder.mkdir(exist_ok=True)
    return FarMirror(task.far.fold(task.fold), folder)


class Interrupted(Exception):
    pass


def dies_after(epochs: int) -> Callable[..., FoldResult | FoldFailure]:
    """A worker that is killed when so many epochs are safe."""

    def job(
        task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
    ) -> FoldResult | FoldFailure:
        def keep_some(files: Path, metrics: Mapping[str, float]) -> None:
            keep(files, metrics)
            if metrics["epoch"] == epochs:
                raise Interrupted

        return light_job.light_fold(task, folder, checkpoint, keep_some)

    return job


def test_a_fold_is_trained_without_a_folder_of_the_driver(task: FoldTask, tmp_path: Path) -> None:
    result = work(task, light_job.light_fold, tmp_path / "not-here")
    assert isinstance(result, FoldResult)
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.complete()
    newest = Checkpoints(mirror.folder).newest()
    assert newest is not None
    assert read_state(newest).fold_result() == result
    assert (newest / "best.pt").read_text() == str(EPOCHS)
    assert not (tmp_path / "not-here").exists()


def test_another_machine_goes_on_where_a_dead_worker_was(task: FoldTask, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        work(task, dies_after(2), tmp_path)
    result = work(task, light_job.light_fold, tmp_path)
    assert isinstance(result, FoldResult)
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4]
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.follow()
    latest = Checkpoints(mirror.folder).latest()
    assert latest is not None
    assert read_state(latest).resumed_after == [2]


def test_a_driver_that_follows_brings_no_weights(task: FoldTask, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        work(task, dies_after(3), tmp_path)
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.follow()
    (latest,) = mirror.folder.glob("checkpoint-*")
    assert [path.name for path in latest.iterdir()] == ["state.json"]
    assert len(read_state(latest).history) == 3
    mirror.complete()
    assert is_intact(latest)
    assert (latest / "last.pt").read_text() == "3"


def test_two_checkpoints_are_kept(task: FoldTask, bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        work(task, dies_after(EPOCHS), tmp_path)
    names = {each.key.split("/")[3] for each in bucket.list("training/run1/fold-0/checkpoint-")}
    assert names == {"checkpoint-000003", "checkpoint-000004"}


@pytest.mark.parametrize("damage", ["changed", "missing", "digests"])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(
    task: FoldTask, bucket: Bucket, tmp_path: Path, damage: str
) -> None:
    with pytest.raises(Interrupted):
        work(task, dies_after(3), tmp_path)
    newest = "training/run1/fold-0/checkpoint-000003/"
    match damage:
        case "changed":
            bucket.put(f"{newest}last.pt", b"7")
        case "missing":
            bucket.delete([f"{newest}last.pt"])
        case "digests":
            bucket.put(f"{newest}digests.json", b"{")
    result = work(task, light_job.light_fold, tmp_path)
    assert isinstance(result, FoldResult)
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.complete()
    latest = Checkpoints(mirror.folder).newest()
    assert latest is not None
    assert read_state(latest).resumed_after == [2]


@pytest.mark.parametrize(
    "digests",
    [b"{", b"5", b'["last.pt"]', b'{"../../outside": "0"}', b'{"/outside": "0"}'],
    ids=["cut off", "a number", "a list", "a way out", "an absolute path"],
)
def test_a_driver_leaves_damaged_digests_to_who_trains_on(
    task: FoldTask, bucket: Bucket, tmp_path: Path, digests: bytes
) -> None:
    with pytest.raises(Interrupted):
        work(task, dies_after(1), tmp_path)
    bucket.put("training/run1/fold-0/checkpoint-000001/digests.json", digests)
    bucket.put("training/run1/fold-0/checkpoint-000001/../../outside", b"1")
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.complete()
    assert Checkpoints(mirror.folder).newest() is None
    assert list(tmp_path.rglob("outside")) == []
    result = work(task, light_job.light_fold, tmp_path)
    assert isinstance(result, FoldResult)


def test_what_has_no_digests_yet_is_no_checkpoint(
    task: FoldTask, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("training/run1/fold-0/checkpoint-000009/last.pt", b"9")
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.follow()
    mirror.complete()
    assert list(mirror.folder.iterdir()) == []
    result = work(task, light_job.light_fold, tmp_path)
    assert isinstance(result, FoldResult)
    assert result.epochs == EPOCHS


def test_a_worker_that_was_cut_off_keeps_nothing_more(task: FoldTask, tmp_path: Path) -> None:
    """It comes back when another one has its fold, and both would write checkpoints."""
    kept, go_on = threading.Event(), threading.Event()

    def slow(
        task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
    ) -> FoldResult | FoldFailure:
        def keep_slowly(files: Path, metrics: Mapping[str, float]) -> None:
            keep(files, metrics)
            kept.set()
            go_on.wait(60)

        return light_job.light_fold(task, folder, checkpoint, keep_slowly)

    results: list[FoldResult | FoldFailure] = []
    cut_off = threading.Thread(target=lambda: results.append(work(task, slow, tmp_path)))
    cut_off.start()
    assert kept.wait(60)
    second = work(task, light_job.light_fold, tmp_path)
    go_on.set()
    cut_off.join()
    assert isinstance(second, FoldResult)
    assert isinstance(results[0], FoldFailure)
    assert "taken this fold over" in results[0].message
    mirror = mirror_of(task, tmp_path / "mirror")
    mirror.complete()
    newest = Checkpoints(mirror.folder).newest()
    assert newest is not None
    assert read_state(newest).fold_result() == second


def test_the_owner_is_asked_before_each_checkpoint(bucket: Bucket, tmp_path: Path) -> None:
    fold = FarTraining(bucket, "run1").fold(0)
    first = FarWorkplace(fold, tmp_path / "1")
    first.take()
    FarWorkplace(fold, tmp_path / "2").take()
    (tmp_path / "1" / "files").mkdir(parents=True)
    with pytest.raises(TrainingFailed):
        first.keep(tmp_path / "1" / "files")
    assert fold.newest() is None


def test_a_store_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_training, "_FIRST_WAIT_S", 0.001)
    attempts = []

    def action() -> int:
        attempts.append(1)
        if len(attempts) < 4:
            raise Unavailable("It is away.")
        return len(attempts)

    assert patiently(action) == 4
    with pytest.raises(Unavailable):
        patiently(lambda: (_ for _ in ()).throw(Unavailable("It is away.")), seconds=0.01)


def test_the_base_and_the_snapshot_come_out_of_the_bucket(
    task: FoldTask, bucket: Bucket, tmp_path: Path
) -> None:
    snapshot = generated_snapshot(tmp_path / "made", 4)
    put_snapshot(bucket, snapshot)
    weights = tmp_path / "base.pt"
    weights.write_bytes(b"weights")
    far = FarTraining(bucket, "run1", snapshot.sha256)
    key = far.put_base(weights)
    weights.unlink()
    seen: dict[str, object] = {}

    def job(
        task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
    ) -> FoldResult | FoldFailure:
        seen["base"] = task.spec.base.read_bytes()
        without = task.open_snapshot(images=False)
        seen["samples"] = len(without.samples)
        seen["image shards"] = len(list(without.folder.glob("images/*")))
        whole: Snapshot = task.open_snapshot(images=True)
        seen["image"] = bytes(whole.image_bytes(whole.samples[0].image_id))
        return FoldFailure("enough", "")

    spec = replace(task.spec, base=tmp_path / "nowhere" / "base.pt")
    work(replace(task, far=far, base_key=key, spec=spec), job, tmp_path)
    first = snapshot.samples[0].image_id
    assert seen == {
        "base": b"weights",
        "samples": 4,
        "image shards": 0,
        "image": bytes(snapshot.image_bytes(first)),
    }


def test_a_changed_shard_is_not_trained_on(task: FoldTask, bucket: Bucket, tmp_path: Path) -> None:
    snapshot = generated_snapshot(tmp_path / "made", 4)
    put_snapshot(bucket, snapshot)
    shard = snapshot.manifest.annotation_shards[0]
    bucket.put(f"snapshots/shards/{shard.sha256}.parquet", b"x" * shard.bytes)

    def job(
        task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
    ) -> FoldResult | FoldFailure:
        with pytest.raises(BrokenRecord, match="digest"):
            task.open_snapshot(images=False)
        return FoldFailure("as it should be", "")

    far = FarTraining(bucket, "run1", snapshot.sha256)
    failure = work(replace(task, far=far), job, tmp_path)
    assert failure == FoldFailure("as it should be", "")

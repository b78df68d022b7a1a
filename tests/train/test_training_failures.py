"""Trainings that cannot end well end in an error that says why and what to do."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detector.ultralytics_env import prepare
from loop.errors import BrokenRecord, Misconfigured, NotEnoughData, TrainingFailed
from store.snapshot_files import Snapshot, open_snapshot
from tests.train.generated import ARCHITECTURE, generated_snapshot, small_spec

pytestmark = pytest.mark.slow
TRAIN_ROWS, VAL_ROWS = range(8), range(8, 12)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    prepare(tmp_path_factory.mktemp("ultralytics"))
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), 12)


@contextmanager
def files_of_at_most(limit_bytes: int) -> Iterator[None]:
    """Writing more fails as on a full disk; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_losses_that_are_infinite_end_the_training(snapshot: Snapshot, tmp_path: Path) -> None:
    from train.trainer import train_detector

    spec = replace(small_spec(tmp_path), hyperparameters={"box": 1e39, "lr0": 0.005})
    with pytest.raises(TrainingFailed, match=r"Epoch 1 .*box_loss") as failure:
        train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: pytest.fail("reported"))
    assert "train.lr0 (0.005 now)" in failure.value.hint
    assert "PRECISION" in failure.value.hint


def test_a_base_model_with_infinite_weights_is_found_out(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    from ultralytics.nn.tasks import DetectionModel

    from train.trainer import train_detector

    model = DetectionModel(str(ARCHITECTURE), nc=len(snapshot.classes), verbose=False)
    torch.nn.init.constant_(model.model[1].conv.weight, torch.inf)
    torch.save({"model": model, "train_args": {}}, tmp_path / "base.pt")
    spec = replace(small_spec(tmp_path / "run"), base=tmp_path / "base.pt")
    with pytest.raises(TrainingFailed, match="Epoch 1") as failure:
        train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: pytest.fail("reported"))
    assert "BASE_MODEL" in failure.value.hint


def test_a_full_disk_is_named(snapshot: Snapshot, tmp_path: Path) -> None:
    from train.trainer import train_detector

    spec = small_spec(tmp_path)
    with (
        files_of_at_most(50_000),
        pytest.raises(TrainingFailed, match="No space left") as failure,
    ):
        train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: pytest.fail("reported"))
    assert str(tmp_path) in failure.value.message
    assert "SECONDLOOK_HOME" in failure.value.hint
    # Nothing half-written is left to be taken for a checkpoint.
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full_is_named_too(snapshot: Snapshot, small_disk: Path) -> None:
    from train.trainer import train_detector

    with pytest.raises(TrainingFailed, match="No space left"):
        train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, small_spec(small_disk), lambda _: None)


def test_an_image_that_does_not_decode_is_named(tmp_path: Path) -> None:
    prepare(tmp_path)
    from train.trainer import train_detector

    snapshot = generated_snapshot(tmp_path / "snapshot", 12)
    [shard] = (tmp_path / "snapshot" / "images").glob("*.parquet")
    encoded = bytes(snapshot.image_bytes(snapshot.samples[3].image_id))
    damaged = shard.read_bytes().replace(encoded[:200], b"-" * 200)
    shard.write_bytes(damaged)
    with pytest.raises(BrokenRecord):
        train_detector(
            open_snapshot(tmp_path / "snapshot", verify=False),
            *(range(12), range(12), small_spec(tmp_path / "run"), lambda _: None),
        )


def test_a_split_without_images_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    from train.trainer import train_detector

    with pytest.raises(NotEnoughData, match="0 to validate"):
        train_detector(snapshot, TRAIN_ROWS, [], small_spec(tmp_path), lambda _: None)


def test_a_gpu_that_is_not_there_is_the_users_to_correct(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    from train.trainer import train_detector

    spec = replace(small_spec(tmp_path), device="99")
    with pytest.raises(Misconfigured, match="CUDA") as failure:
        train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None)
    assert "GPUS_PER_FOLD" in failure.value.hint

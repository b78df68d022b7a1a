"""The trainer against Ultralytics' own, on the same images as files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from detector.ultralytics_env import prepare
from store.snapshot_files import Snapshot
from tests.train.generated import ARCHITECTURE, SIZE_PX, generated_snapshot
from train.params import Precision
from train.training import TrainSpec

pytestmark = pytest.mark.slow
TRAIN_ROWS, VAL_ROWS = range(8), range(8, 12)
# Three batches an epoch, the last one smaller, and a step every four: also across epochs.
BATCH, EPOCHS = 3, 3
HYPERPARAMETERS: dict[str, Any] = {
    "optimizer": "SGD",
    "lr0": 0.02,
    "nbs": 12,
    "warmup_epochs": 1.5,
    "close_mosaic": 1,
    "mixup": 0.3,
    "degrees": 10.0,
}


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    from ultralytics.nn.tasks import load_checkpoint

    model, _ = load_checkpoint(str(path))
    weights: dict[str, torch.Tensor] = model.state_dict()
    return weights


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


def write_files(snapshot: Snapshot, rows: Sequence[int], folder: Path) -> None:
    """As Ultralytics wants them; names in the order of the rows."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for place, sample in enumerate(snapshot.samples[row] for row in rows):
        data = snapshot.image_bytes(sample.image_id)
        (folder / "images" / f"{place:03}.png").write_bytes(data)
        lines = []
        for final in sample.boxes:
            left, top, right, bottom = torch.tensor(final.box.xyxy, dtype=torch.float32)
            shares = (
                *((left + right) / 2 / sample.width, (top + bottom) / 2 / sample.height),
                *((right - left) / sample.width, (bottom - top) / sample.height),
            )
            lines.append(" ".join([str(final.class_id), *(f"{share:.9g}" for share in shares)]))
        (folder / "labels" / f"{place:03}.txt").write_text("\n".join(lines))


def train_with_ultralytics(snapshot: Snapshot, folder: Path) -> Path:
    """The same training by Ultralytics alone; returns its folder."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    write_files(snapshot, TRAIN_ROWS, folder / "train")
    write_files(snapshot, VAL_ROWS, folder / "val")
    names = dict(enumerate(snapshot.classes))
    data = {"path": str(folder), "train": "train/images", "val": "val/images", "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))
    trainer = DetectionTrainer(
        overrides=HYPERPARAMETERS
        | {"model": str(ARCHITECTURE), "data": str(folder / "data.yaml"), "device": "cpu"}
        | {"save_dir": str(folder / "run"), "epochs": EPOCHS, "batch": BATCH, "imgsz": SIZE_PX}
        | {"patience": 0, "seed": 1, "workers": 0, "amp": False, "plots": False}
    )
    for event in ("on_pretrain_routine_end", "on_val_start"):
        trainer.add_callback(event, lambda _: torch.set_num_threads(1))
    trainer.train()
    return folder / "run"


def test_a_training_is_ultralytics_own_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "ultralytics")
    from train import yolo_trainer
    from train.trainer import train_detector

    # Another memory layout adds up in another order.
    monkeypatch.setattr(yolo_trainer, "gains_from_channels_last", lambda _: False)
    # It draws the files to try from the random numbers that augmentations draw from.
    monkeypatch.setattr("ultralytics.data.base.check_file_speeds", lambda *_, **__: None)
    snapshot = generated_snapshot(tmp_path / "snapshot", 12)
    theirs = train_with_ultralytics(snapshot, tmp_path / "theirs")
    spec = TrainSpec(
        base=ARCHITECTURE,
        folder=tmp_path / "ours",
        epochs=EPOCHS,
        batch_size=BATCH,
        image_size=SIZE_PX,
        patience=0,
        seed=1,
        precision=Precision.FP32,
        hyperparameters=HYPERPARAMETERS,
    )
    result = train_detector(snapshot, TRAIN_ROWS, VAL_ROWS, spec, lambda _: None)

    assert table_of(spec.folder / "results.csv") == table_of(theirs / "results.csv")
    for name in ("last.pt", "best.pt"):
        ours, wanted = (weights_of(folder / "weights" / name) for folder in (spec.folder, theirs))
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[key], wanted[key]) for key in wanted)
    assert result.epochs == EPOCHS

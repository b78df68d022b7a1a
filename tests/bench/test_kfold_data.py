from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from bench.kfold_data import Data, write_fold_folders
from tests.train.generated import generated_snapshot
from train.indices import write_folds

K = 3
COUNT = 7


@pytest.fixture
def data(tmp_path: Path) -> Data:
    snapshot = generated_snapshot(tmp_path / "snapshot", COUNT)
    fold = np.arange(COUNT, dtype=np.int8) % K
    folds = write_folds(tmp_path / "folds.parquet", snapshot, fold, k=K, seed=0)
    return Data(tmp_path, tmp_path, snapshot, folds)


def test_each_fold_has_every_image_once_on_the_side_that_the_workspace_says(
    data: Data, tmp_path: Path
) -> None:
    for fold, file in enumerate(write_fold_folders(data, tmp_path / "copies")):
        content = yaml.safe_load(file.read_text())
        for part, rows in (("train", data.folds.train_rows), ("val", data.folds.val_rows)):
            folder = Path(content["path"]) / content[part] / "images"
            expected = {data.snapshot.samples[row].image_id for row in rows(fold)}
            assert {path.stem for path in folder.iterdir()} == expected
            for path in folder.iterdir():
                assert path.read_bytes() == bytes(data.snapshot.image_bytes(path.stem))


def test_labels_give_the_boxes_back_and_an_image_without_boxes_has_an_empty_file(
    data: Data, tmp_path: Path
) -> None:
    file = write_fold_folders(data, tmp_path / "copies")[0]
    labels = {path.stem: path.read_text() for path in file.parent.rglob("labels/*.txt")}
    assert len(labels) == COUNT
    assert "" in labels.values()
    for sample in data.snapshot.samples:
        lines = [line.split() for line in labels[sample.image_id].splitlines()]
        assert [int(line[0]) for line in lines] == [final.class_id for final in sample.boxes]
        found = np.array([line[1:] for line in lines], dtype=float).reshape(-1, 4)
        scale = np.array([sample.width, sample.height])
        edges = np.hstack([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2])
        expected = np.array([final.box.xyxy for final in sample.boxes]).reshape(-1, 4)
        np.testing.assert_allclose(edges * np.tile(scale, 2), expected, atol=1e-3)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loop.errors import BrokenRecord, NotEnoughData, NotFound
from loop.snapshots import Labels
from store.snapshot_files import Snapshot, open_snapshot
from tests.train.conftest import Loop
from train import data_collection
from train.indices import FoldIndex, check_index, read_folds
from train.kfold_data_formatting import main
from train.paths import StagePaths

PATHS = StagePaths(Labels.ADJUDICATED)


def folded(k: int = 3, seed: int = 0) -> tuple[Snapshot, FoldIndex]:
    Path("params.yaml").write_text(f"K_FOLDS: {k}\nSEED: {seed}\n")
    data_collection.main()
    main()
    return open_snapshot(PATHS.snapshot), read_folds(PATHS.folds)


def test_every_image_has_a_fold_and_gold_has_none(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        loop_state.truth(number, [number % 2], subject=f"s{number // 2}")
    gold = loop_state.truth(99, subject="g", gold=True)
    snapshot, index = folded()
    check_index(index, snapshot)
    assert (index.k, index.seed, index.snapshot_sha256) == (3, 0, snapshot.sha256)
    fold_of = dict(zip(index.image_ids, index.fold.tolist(), strict=True))
    assert fold_of.pop(gold) == -1
    assert set(fold_of.values()) == {0, 1, 2}
    for fold in range(3):
        train, val = set(index.train_rows(fold)), set(index.val_rows(fold))
        assert not train & val
        assert {snapshot.samples[row].image_id for row in train | val} == set(fold_of)
        subjects = [{snapshot.samples[row].subject for row in rows} for rows in (train, val)]
        assert not subjects[0] & subjects[1]
    printed = capsys.readouterr().out
    assert "gold" in printed
    assert "Warning" not in printed


def test_the_audit_event_names_the_file(loop_state: Loop) -> None:
    for number in range(4):
        loop_state.truth(number)
    snapshot, index = folded(k=2, seed=7)
    event = loop_state.events("folds.created")[0]
    assert event.subject == {
        "snapshot_sha256": snapshot.sha256,
        "folds_sha256": index.sha256,
        "k": 2,
        "seed": 7,
    }
    assert sum(part["images"] for part in event.details["parts"]) == 4


def test_subjects_in_the_gold_set_are_left_out_with_a_warning(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        loop_state.truth(number)
    loop_state.truth(50, subject="both", gold=True)
    leak = loop_state.truth(51, subject="both")
    _, index = folded(k=2)
    assert dict(zip(index.image_ids, index.fold.tolist(), strict=True))[leak] == -2
    used = {row for fold in range(2) for row in index.train_rows(fold) + index.val_rows(fold)}
    assert index.image_ids.index(leak) not in used
    assert "1 images are not trained on" in capsys.readouterr().out


def test_the_same_snapshot_and_seed_make_the_same_file(loop_state: Loop) -> None:
    for number in range(9):
        loop_state.truth(number)
    assert folded()[1].sha256 == folded()[1].sha256
    assert folded()[1].sha256 != folded(seed=1)[1].sha256


def test_too_few_subjects_are_said(loop_state: Loop) -> None:
    for number in range(4):
        loop_state.truth(number, subject="one")
    with pytest.raises(NotEnoughData, match="3 folds need 3 subjects"):
        folded()
    assert not PATHS.folds.exists()


def test_only_gold_is_nothing_to_train_on(loop_state: Loop) -> None:
    loop_state.truth(1, gold=True)
    with pytest.raises(NotEnoughData, match="no images"):
        folded()


def test_folds_of_another_snapshot_are_refused(loop_state: Loop) -> None:
    for number in range(4):
        loop_state.truth(number)
    _, index = folded(k=2)
    loop_state.truth(5)
    data_collection.main()
    with pytest.raises(BrokenRecord, match="made for snapshot"):
        check_index(index, open_snapshot(PATHS.snapshot))


def test_a_missing_or_foreign_file_says_which_stage_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "folds.parquet"
    with pytest.raises(NotFound) as caught:
        read_folds(path)
    assert "kfold_data_formatting" in caught.value.hint
    path.write_bytes(b"no parquet")
    with pytest.raises(BrokenRecord):
        read_folds(path)
    pq.write_table(pa.table({"fold": np.arange(3)}), path)
    with pytest.raises(BrokenRecord):
        read_folds(path)

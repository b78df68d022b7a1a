from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import NotFound
from loop.snapshots import Labels
from store.snapshot_files import open_snapshot
from tests.train.conftest import Loop
from train import data_collection
from train.data_formatting import main
from train.indices import check_index, read_split
from train.paths import StagePaths


@pytest.mark.parametrize("labels", list(Labels))
def test_images_are_split_by_subject_into_train_and_val(loop_state: Loop, labels: Labels) -> None:
    Path("params.yaml").write_text("VAL_FRACTION: 0.25\nSEED: 3\n")
    for number in range(20):
        loop_state.correct(loop_state.queue(number))
    loop_state.truth(50, subject="both", gold=True)
    loop_state.truth(51, subject="both")
    data_collection.main(labels)
    main(labels)
    paths = StagePaths(labels)
    snapshot, index = open_snapshot(paths.snapshot), read_split(paths.split)
    check_index(index, snapshot)
    assert len(index.rows_of("train")) == 15
    assert len(index.rows_of("val")) == 5
    assert len(index.rows_of("gold")) == 1
    assert len(index.rows_of("excluded")) == (labels is Labels.ADJUDICATED)
    event = loop_state.events("split.created")[0]
    assert event.subject == {
        "snapshot_sha256": snapshot.sha256,
        "split_sha256": index.sha256,
        "val_fraction": 0.25,
        "seed": 3,
    }


def test_without_a_snapshot_it_says_which_stage_makes_one(loop_state: Loop) -> None:
    Path("params.yaml").write_text("SEED: 3\n")
    with pytest.raises(NotFound) as caught:
        main()
    assert "data_collection" in caught.value.hint

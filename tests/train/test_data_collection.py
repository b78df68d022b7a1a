from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loop.corrections import Origin
from loop.errors import NotEnoughData
from loop.snapshots import Labels
from store.snapshot_files import Snapshot, open_snapshot
from tests.train.conftest import CLASSES, MODEL, REVIEWER, Loop
from train import data_collection
from train.data_collection import main
from train.paths import StagePaths


def collected(labels: Labels = Labels.ADJUDICATED) -> Snapshot:
    main(labels)
    return open_snapshot(StagePaths(labels).snapshot)


def test_annotations_become_a_snapshot_and_an_audit_event(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = loop_state.truth(1, [0, 1])
    negative = loop_state.truth(2, [])
    corrected = loop_state.queue(3)
    loop_state.correct(corrected)
    loop_state.queue(4)  # nobody answered it
    snapshot = collected()
    assert snapshot.classes == CLASSES
    by_id = {sample.image_id: sample for sample in snapshot.samples}
    assert set(by_id) == {truth, negative, corrected.image_id}
    assert by_id[negative].boxes == ()
    assert [box.class_id for box in by_id[truth].boxes] == [0, 1]
    assert by_id[corrected.image_id].boxes[0].origin is Origin.ACCEPTED
    assert bytes(snapshot.image_bytes(truth)) == b"image 1"
    with loop_state.units() as uow:
        record = uow.snapshots.get(snapshot.sha256)
    assert record.manifest == snapshot.manifest
    assert record.created_by == loop_state.settings.actor
    event = loop_state.events("snapshot.created")[0]
    assert event.subject == {"snapshot_sha256": snapshot.sha256, "labels": "adjudicated"}
    assert event.details["counts"]["images"] == 3
    printed = capsys.readouterr().out
    assert snapshot.sha256 in printed
    assert "3 boxes: 2 round_cell, 1 rod" in printed


def test_an_event_of_many_shards_lists_the_first_and_has_the_root_of_all(
    loop_state: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_collection, "_LISTED_SHARDS", 1)
    loop_state.truth(1)
    manifest = collected().manifest
    event = loop_state.events("snapshot.created")[0]
    assert [shard["path"] for shard in event.details["shards"]] == [manifest.image_shards[0].path]
    assert event.details["unlisted_shards"] == 1
    assert event.outputs["dataset_root"] == manifest.dataset_root


def test_answers_are_looked_up_in_several_units_of_work(
    loop_state: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_collection, "_LOOKED_UP_IN_A_UNIT", 2)
    written = {loop_state.truth(number) for number in range(5)}
    assert {sample.image_id for sample in collected().samples} == written


def test_lineage_leads_from_the_box_to_the_model(loop_state: Loop) -> None:
    outcome = loop_state.correct(loop_state.queue(3))
    snapshot = collected()
    path = snapshot.folder / snapshot.manifest.annotation_shards[0].path
    row = pq.read_table(path).to_pylist()[0]
    assert outcome.annotation is not None
    assert row["annotation_id"] == outcome.annotation.id
    assert row["model"] == MODEL.as_dict()
    assert row["reviewers"] == [REVIEWER.pseudonym]
    assert row["boxes"][0]["detected"]["confidence"] == 0.9


def test_the_same_state_again_makes_no_new_snapshot_and_no_event(loop_state: Loop) -> None:
    loop_state.truth(1)
    first = collected()
    assert collected().sha256 == first.sha256
    assert len(loop_state.events("snapshot.created")) == 1


def test_new_annotations_only_add_shards(loop_state: Loop) -> None:
    loop_state.truth(1)
    first = collected()
    before = {path: path.read_bytes() for path in first.folder.rglob("*.parquet")}
    loop_state.truth(2)
    second = collected()
    assert second.sha256 != first.sha256
    assert {path: path.read_bytes() for path in before} == before
    assert len(loop_state.events("snapshot.created")) == 2


def test_first_answers_are_taken_before_they_are_settled_and_gold_stays_gold(
    loop_state: Loop,
) -> None:
    loop_state.truth(1)  # an imported truth is nobody's first answer
    gold = loop_state.truth(2, [1], gold=True)
    waiting = loop_state.queue(3)
    assert loop_state.correct(waiting, class_id=1).annotation is None
    snapshot = collected(Labels.FIRST_REVIEWER)
    assert snapshot.folder == Path("data/first_reviewer/snapshot")
    by_id = {sample.image_id: sample for sample in snapshot.samples}
    assert set(by_id) == {gold, waiting.image_id}
    assert by_id[gold].gold
    assert by_id[waiting.image_id].boxes[0].class_id == 1
    assert {sample.image_id for sample in collected().samples} >= {gold}
    assert waiting.image_id not in {sample.image_id for sample in collected().samples}


@pytest.mark.parametrize("labels", list(Labels))
def test_without_annotations_it_says_where_they_come_from(loop_state: Loop, labels: Labels) -> None:
    loop_state.queue(1)
    with pytest.raises(NotEnoughData) as caught:
        main(labels)
    assert "secondlook import" in caught.value.hint
    assert not StagePaths(labels).snapshot.exists()

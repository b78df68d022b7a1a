"""From pixels to folds: copies of one picture stay together, by hashes kept on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from loop.boxes import Box
from loop.intake import NewImage, TrueBox, add_truth
from loop.perceptual_hash import perceptual_hash
from loop.snapshots import Labels
from loop.synthetic import generate
from store import snapshot_shards
from store.image_codec import encode_jpeg, encode_png
from store.snapshot_files import Snapshot, open_snapshot
from tests.train.conftest import ENGINEER, Loop
from train import data_collection, data_formatting, kfold_data_formatting
from train.indices import read_folds, read_split
from train.paths import StagePaths
from train.split_report import report_of_folds, report_of_split

PATHS = StagePaths(Labels.ADJUDICATED)
SIZE = 96


def pictures(count: int) -> list[NDArray[np.uint8]]:
    made = generate(3 * count, seed=12, size=SIZE)
    return [image.pixels for image in made if len(image.boxes) > 2][:count]


def add(
    state: Loop,
    pixels: NDArray[np.uint8],
    *,
    quality: int = 0,
    hashed: bool = True,
    gold: bool = False,
) -> str:
    data = encode_jpeg(pixels, quality) if quality else encode_png(pixels)
    phash = perceptual_hash(pixels) if hashed else None
    new = NewImage(data, "image/jpeg" if quality else "image/png", SIZE, SIZE, phash=phash)
    boxes = [TrueBox(Box(1, 2, 9, 10), 0)]
    add_truth(state.units, state.images, new, boxes, actor=ENGINEER, gold=gold)
    return state.images.put(data)


def frozen(distance: int = 6, k: int = 3) -> Snapshot:
    Path("params.yaml").write_text(f"K_FOLDS: {k}\nNEAR_DUPLICATE_DISTANCE: {distance}\n")
    data_collection.main()
    return open_snapshot(PATHS.snapshot)


def test_copies_share_a_fold_and_a_copy_of_gold_has_none(
    loop_state: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = pictures(7)
    gold = add(loop_state, fields[6], gold=True)
    copy_of_gold = add(loop_state, fields[6], quality=60)
    pairs = [(add(loop_state, field), add(loop_state, field, quality=50)) for field in fields[:6]]
    snapshot = frozen()
    kfold_data_formatting.main()
    index = read_folds(PATHS.folds)
    fold_of = dict(zip(index.image_ids, index.fold.tolist(), strict=True))
    assert (fold_of.pop(gold), fold_of.pop(copy_of_gold)) == (-1, -2)
    assert all(fold_of[one] == fold_of[two] for one, two in pairs)
    assert set(fold_of.values()) == {0, 1, 2}
    assert index.near_duplicate_distance == 6

    written = json.loads(PATHS.folds_report.read_text())
    report = report_of_folds(snapshot, index)
    assert written == report | {"warnings": written["warnings"]}
    assert written["folds_sha256"] == index.sha256
    assert written["classes"] == ["round_cell", "rod"]
    folds = [part for part in written["parts"] if part["part"] in "012"]
    assert sum(part["images"] for part in folds) == 12
    assert sum(part["near_duplicate_groups"] for part in folds) == 6
    assert sum(part["groups"] for part in folds) == 6
    (event,) = loop_state.events("folds.created")
    assert event.details["parts"] == written["parts"]
    assert event.details["warnings"] == written["warnings"]
    assert any("1 images are not trained on" in warning for warning in written["warnings"])
    assert "near-duplicates" in capsys.readouterr().out


def test_the_standard_split_keeps_copies_together(loop_state: Loop) -> None:
    pairs = [(add(loop_state, f), add(loop_state, f, quality=50)) for f in pictures(5)]
    snapshot = frozen()
    data_formatting.main()
    index = read_split(PATHS.split)
    part_of = dict(zip(index.image_ids, index.part, strict=True))
    assert all(part_of[one] == part_of[two] for one, two in pairs)
    assert set(part_of.values()) == {"train", "val"}
    written = json.loads(PATHS.split_report.read_text())
    assert written == report_of_split(snapshot, index) | {"warnings": written["warnings"]}


def test_turned_off_copies_are_strangers(loop_state: Loop) -> None:
    field = pictures(1)[0]
    for quality in (0, 90, 70):
        add(loop_state, field, quality=quality)
    frozen(distance=-1)
    kfold_data_formatting.main()
    assert sorted(read_folds(PATHS.folds).fold.tolist()) == [0, 1, 2]


def test_images_from_before_there_were_hashes_get_theirs_with_the_snapshot(
    loop_state: Loop,
) -> None:
    field = pictures(1)[0]
    old = add(loop_state, field, hashed=False)
    no_picture = loop_state.truth(1)
    snapshot = frozen()
    hashes = {sample.image_id: sample.phash for sample in snapshot.samples}
    assert hashes == {old: perceptual_hash(field), no_picture: ""}
    with loop_state.units() as uow:
        assert uow.images.get(old).phash == hashes[old]
    assert frozen().sha256 == snapshot.sha256


def test_a_snapshot_from_before_there_were_hashes_is_read_and_hashed(
    loop_state: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in pictures(4):
        add(loop_state, field)
        add(loop_state, field, quality=50)
    before = pa.schema([each for each in snapshot_shards.ANNOTATIONS if each.name != "phash"])
    with monkeypatch.context() as patch:
        patch.setattr(snapshot_shards, "ANNOTATIONS", before)
        old = frozen(k=4)
    assert {sample.phash for sample in old.samples} == {None}
    kfold_data_formatting.main()
    folds = dict(zip(read_folds(PATHS.folds).image_ids, read_folds(PATHS.folds).fold, strict=True))
    new = frozen(k=4)
    assert len(new.manifest.annotation_shards) == 2
    assert new.manifest.image_shards == old.manifest.image_shards
    assert None not in {sample.phash for sample in new.samples}
    assert [replace(s, phash=None) for s in new.samples] == old.samples
    kfold_data_formatting.main()
    again = read_folds(PATHS.folds)
    assert dict(zip(again.image_ids, again.fold, strict=True)) == folds

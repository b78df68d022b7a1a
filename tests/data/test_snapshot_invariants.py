"""What holds of any snapshot and its folds, on real images as on generated answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.folds import assign_folds
from loop.images import Image
from loop.near_duplicates import DEFAULT_DISTANCE
from loop.snapshots import Labels
from store.formats import read_dataset
from store.snapshot_files import Snapshot, SnapshotEntry, open_snapshot, write_snapshot
from train.splitting import check_no_leakage, columns_to_split, kinship, sort_out

BCCD = Path(__file__).parents[2] / "../shared/data/bccd"
CLASSES = ClassList(("RBC", "WBC", "Platelets"))
SIDE = 100


def check_invariants(snapshot: Snapshot) -> None:
    ids = [sample.image_id for sample in snapshot.samples]
    assert ids == sorted(set(ids))
    for sample in snapshot.samples:
        assert all(box.box.inside(sample.width, sample.height) for box in sample.boxes)
        assert all(box.class_id < len(snapshot.classes) for box in sample.boxes)
        data = snapshot.image_bytes(sample.image_id)
        assert hashlib.sha256(data).hexdigest() == sample.image_id
    counts = snapshot.manifest.counts
    assert counts["images"] == len(ids)
    assert counts["boxes"] == sum(len(sample.boxes) for sample in snapshot.samples)
    assert counts["boxes"] == sum(counts["boxes_per_class"].values())


# A state of the loop: for each of a few images its annotation's version and boxes, or nothing.
answers = st.lists(
    st.tuples(st.floats(0, 60), st.floats(0, 60), st.integers(0, len(CLASSES) - 1)), max_size=3
)
histories = st.lists(st.dictionaries(st.integers(0, 5), answers), min_size=1, max_size=4)


def entry(number: int, version: int, found: Sequence[tuple[float, float, int]]) -> SnapshotEntry:
    image_id = hashlib.sha256(str(number).encode()).hexdigest()
    boxes = tuple(
        FinalBox(f"b{place}", Box(x, y, x + 20, y + 20), class_id, Origin.ADDED)
        for place, (x, y, class_id) in enumerate(found)
    )
    image = Image(image_id, SIDE, SIDE, "image/png", f"s{number // 2}", "test", "")
    return SnapshotEntry(image, f"{number}-{version}", version, "first_review", boxes, ("p",), None)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_a_snapshot_is_its_latest_entries_however_it_came_about(
    history: list[dict[int, list[tuple[float, float, int]]]],
) -> None:
    """Corrections come, images come and go; shards that stay are never rewritten."""
    read = {hashlib.sha256(str(n).encode()).hexdigest(): str(n).encode() for n in range(6)}
    state: dict[int, SnapshotEntry] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        for round_, changes in enumerate(history, start=1):
            if round_ > 2:  # and an image goes
                state = dict(list(state.items())[1:])
            state |= {number: entry(number, round_, found) for number, found in changes.items()}
            before = {path: path.read_bytes() for path in folder.rglob("part-*")}
            entries = list(state.values())
            manifest = write_snapshot(
                folder, Labels.ADJUDICATED, CLASSES, entries, read.__getitem__
            )
            after = {path: path.read_bytes() for path in folder.rglob("part-*")}
            assert all(after[path] == data for path, data in before.items() if path in after)
            named = {shard.path for shard in manifest.image_shards + manifest.annotation_shards}
            assert {path.relative_to(folder).as_posix() for path in after} == named
            snapshot = open_snapshot(folder)
            check_invariants(snapshot)
            found_boxes = {sample.image_id: sample.boxes for sample in snapshot.samples}
            assert found_boxes == {e.image.id: e.boxes for e in entries}


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD images are not here")
def test_real_images_keep_every_law(tmp_path: Path) -> None:
    halves = json.loads((BCCD / "halves.json").read_text())
    reader = read_dataset(BCCD, "voc", classes=CLASSES)
    data: dict[str, bytes] = {}
    entries: list[SnapshotEntry] = []
    for number, image in enumerate(image for image in reader if image.name in halves["b"]):
        content = image.path.read_bytes()
        image_id = hashlib.sha256(content).hexdigest()
        data[image_id] = content
        boxes = tuple(
            FinalBox(f"b{place}", box.box, CLASSES.id_of(box.class_name), Origin.IMPORTED)
            for place, box in enumerate(image.boxes)
        )
        row = Image(
            image_id,
            image.width,
            image.height,
            "image/jpeg",
            f"slide-{number // 3}",
            "import",
            "",
            gold=number % 10 == 0,
        )
        entries.append(SnapshotEntry(row, f"a{number}", 1, "imported", boxes, ("p",), None))
    write_snapshot(tmp_path, Labels.ADJUDICATED, CLASSES, entries, data.__getitem__)
    snapshot = open_snapshot(tmp_path)
    assert len(snapshot.samples) == 146
    check_invariants(snapshot)

    kin = kinship(snapshot, DEFAULT_DISTANCE)
    pool = sort_out(snapshot.samples, kin)
    rows = {*pool.trainable, *pool.gold, *pool.excluded}
    assert rows == set(range(146))
    subjects = [
        {snapshot.samples[row].subject for row in part} for part in (pool.trainable, pool.gold)
    ]
    assert not subjects[0] & subjects[1]
    folds = assign_folds(*columns_to_split(snapshot.samples, pool.trainable, kin), 3, 0)
    rows_of = [
        [row for row, own in zip(pool.trainable, folds, strict=True) if own == fold]
        for fold in range(3)
    ]
    sides = [(sorted({*pool.trainable} - {*val_rows}), val_rows) for val_rows in rows_of]
    check_no_leakage(snapshot, sides, DEFAULT_DISTANCE)
    shares = np.bincount(folds) / len(folds)
    assert shares.min() > 0.25
    classes_of = [
        {
            box.class_id
            for row, own in zip(pool.trainable, folds, strict=True)
            if own == fold
            for box in snapshot.samples[row].boxes
        }
        for fold in range(3)
    ]
    assert all(found == {0, 1, 2} for found in classes_of)

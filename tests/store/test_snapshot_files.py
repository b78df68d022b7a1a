from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.errors import BrokenRecord, NotFound
from loop.images import Image
from loop.predictions import Detection, ModelRef, Prediction
from loop.snapshots import Labels, Manifest
from store import snapshot_shards
from store.snapshot_files import SnapshotEntry, open_snapshot, write_snapshot

CLASSES = ClassList(("RBC", "WBC"))
MODEL = ModelRef("detector", "3", "a" * 64)


class ImageShelf:
    """Image bytes by id, and how often each was read."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self.reads: list[str] = []

    def put(self, data: bytes) -> str:
        image_id = hashlib.sha256(data).hexdigest()
        self._data[image_id] = data
        return image_id

    def get(self, image_id: str) -> bytes:
        self.reads.append(image_id)
        return self._data[image_id]


@pytest.fixture
def shelf() -> ImageShelf:
    return ImageShelf()


def entry(
    shelf: ImageShelf, number: int, *, version: int = 1, gold: bool = False, size: int = 100
) -> SnapshotEntry:
    image_id = shelf.put(f"image {number} ".encode().ljust(size, b"."))
    image = Image(image_id, 64, 48, "image/jpeg", f"subject-{number % 3}", "upload", "", gold)
    image = replace(image, phash=None if number == 3 else f"{number:016x}")
    detection = Detection("d0", Box(1.5, 2, 9, 10.25), 0, 0.75)
    boxes = (
        FinalBox("b0", Box(1.5, 2, 9.5, 10.25), 0, Origin.MOVED, "d0"),
        FinalBox("b1", Box(0, 0, 64, 48), 1, Origin.ADDED),
    )
    return SnapshotEntry(
        image,
        f"annotation-{number}-{version}",
        version,
        "first_review",
        boxes if number % 4 else (),
        ("p-1", "p-2"),
        Prediction("prediction", image_id, MODEL, (detection,), ""),
    )


Write = Callable[[Sequence[SnapshotEntry]], Manifest]


@pytest.fixture
def write(tmp_path: Path, shelf: ImageShelf) -> Write:
    return lambda entries: write_snapshot(tmp_path, Labels.ADJUDICATED, CLASSES, entries, shelf.get)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_was_written_is_read_back(write: Write, shelf: ImageShelf, tmp_path: Path) -> None:
    entries = [entry(shelf, number, gold=number == 5) for number in range(8)]
    manifest = write(entries)
    snapshot = open_snapshot(tmp_path)
    assert snapshot.manifest == manifest
    assert snapshot.sha256 == manifest.sha256
    assert snapshot.classes == CLASSES
    ordered = sorted(entries, key=lambda entry: entry.image.id)
    assert [sample.image_id for sample in snapshot.samples] == [e.image.id for e in ordered]
    for sample, written in zip(snapshot.samples, ordered, strict=True):
        assert sample.boxes == written.boxes
        assert (sample.width, sample.height) == (64, 48)
        assert (sample.media_type, sample.subject) == ("image/jpeg", written.image.subject)
        assert (sample.gold, sample.phash) == (written.image.gold, written.image.phash)
        data = snapshot.image_bytes(sample.image_id)
        assert hashlib.sha256(data).hexdigest() == sample.image_id
    assert manifest.counts == {
        "images": 8,
        "boxes": 12,
        "boxes_per_class": {"RBC": 6, "WBC": 6},
        "gold": 1,
        "negatives": 2,
        "subjects": 3,
    }


def test_the_same_entries_in_any_order_make_the_same_bytes(
    shelf: ImageShelf, tmp_path: Path
) -> None:
    entries = [entry(shelf, number) for number in range(6)]
    for folder, order in (("a", entries), ("b", entries[::-1])):
        write_snapshot(tmp_path / folder, Labels.ADJUDICATED, CLASSES, order, shelf.get)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_second_write_without_news_changes_nothing(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    entries = [entry(shelf, number) for number in range(6)]
    first = write(entries)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    shelf.reads.clear()
    assert write(entries) == first
    assert shelf.reads == []
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == stamps


def test_a_second_correction_adds_an_annotation_shard_and_copies_no_image(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    entries = [entry(shelf, number) for number in range(1, 6)]
    first = write(entries)
    before = files_of(tmp_path)
    again = replace(entries[2], annotation_id="newer", version=2, boxes=())
    shelf.reads.clear()
    second = write([*entries[:2], again, *entries[3:]])
    assert shelf.reads == []
    assert second.image_shards == first.image_shards
    assert second.annotation_shards[:1] == first.annotation_shards
    assert [shard.rows for shard in second.annotation_shards] == [5, 1]
    after = files_of(tmp_path)
    assert all(after[name] == data for name, data in before.items() if "part-" in name)
    samples = {sample.image_id: sample for sample in open_snapshot(tmp_path).samples}
    assert samples[again.image.id].boxes == ()
    assert len(samples) == 5


def test_new_images_go_into_a_new_shard(write: Write, shelf: ImageShelf, tmp_path: Path) -> None:
    entries = [entry(shelf, number) for number in range(4)]
    first = write(entries[:3])
    second = write(entries)
    assert second.image_shards[:1] == first.image_shards
    assert [shard.rows for shard in second.image_shards] == [3, 1]
    assert len(open_snapshot(tmp_path).samples) == 4


def test_an_image_that_became_gold_is_noticed_though_its_annotation_is_the_same(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    before = entry(shelf, 1)
    write([before])
    write([replace(before, image=replace(before.image, gold=True))])
    assert open_snapshot(tmp_path).samples[0].gold


def test_an_image_that_is_no_longer_wanted_leaves_the_folder(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    entries = [entry(shelf, number) for number in range(4)]
    write(entries)
    write(entries[1:])
    left = {sample.image_id for sample in open_snapshot(tmp_path).samples}
    assert left == {e.image.id for e in entries[1:]}
    gone = entries[0].image.id
    assert all(
        gone not in pq.read_table(path).column("image_id").to_pylist()
        for path in tmp_path.rglob("*.parquet")
    )


def test_another_database_with_an_earlier_version_wins_over_what_lies_there(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    write([entry(shelf, 1, version=3)])
    write([replace(entry(shelf, 1, version=1), boxes=())])
    assert open_snapshot(tmp_path).samples[0].boxes == ()


def test_lineage_is_kept_with_each_box(write: Write, shelf: ImageShelf, tmp_path: Path) -> None:
    manifest = write([entry(shelf, 1)])
    row = pq.read_table(tmp_path / manifest.annotation_shards[0].path).to_pylist()[0]
    assert row["model"] == MODEL.as_dict()
    assert row["reviewers"] == ["p-1", "p-2"]
    moved, added = row["boxes"]
    assert (moved["origin"], moved["detection_id"]) == ("moved", "d0")
    assert moved["detected"] == {
        "x1": 1.5,
        "y1": 2.0,
        "x2": 9.0,
        "y2": 10.25,
        "class_id": 0,
        "confidence": 0.75,
    }
    assert added["detected"] is None


def test_images_are_spread_over_shards_and_row_groups(
    write: Write, shelf: ImageShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_shards, "_SHARD_BYTES", 5_000)
    monkeypatch.setattr(snapshot_shards, "_ROW_GROUP_BYTES", 2_000)
    seen: list[tuple[int, int]] = []
    entries = [entry(shelf, number, size=1_000) for number in range(20)]
    manifest = write_snapshot(
        tmp_path, Labels.ADJUDICATED, CLASSES, entries, shelf.get, lambda *at: seen.append(at)
    )
    assert len(manifest.image_shards) > 2
    assert sum(shard.rows for shard in manifest.image_shards) == 20
    assert seen == [(done, 20) for done in range(1, 21)]
    assert write(entries) == manifest
    snapshot = open_snapshot(tmp_path)
    for sample in snapshot.samples:
        data = snapshot.image_bytes(sample.image_id)
        assert hashlib.sha256(data).hexdigest() == sample.image_id


def test_a_crash_before_the_manifest_leaves_the_old_snapshot(
    write: Write, shelf: ImageShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry(shelf, number) for number in range(4)]
    first = write(entries[:2])

    def power_cut(path: Path, data: bytes) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("store.snapshot_files.write_durably", power_cut)
        with pytest.raises(OSError, match="power cut"):
            write(entries)
    assert len(list((tmp_path / "images").iterdir())) == 2  # the old shard and a stray one
    assert open_snapshot(tmp_path).manifest == first
    (tmp_path / "images" / ".part-00007.partial").write_bytes(b"half a shard")
    write(entries[:2])
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_a_crash_while_images_are_read_leaves_the_old_snapshot(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    first = write([entry(shelf, 0)])
    missing = entry(ImageShelf(), 99)
    with pytest.raises(KeyError):
        write([entry(shelf, 0), missing])
    assert open_snapshot(tmp_path).manifest == first


@pytest.mark.parametrize("kind", ["images", "annotations"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_shard_that_is_not_as_the_manifest_says_is_named(
    write: Write, shelf: ImageShelf, tmp_path: Path, kind: str, harm: str
) -> None:
    write([entry(shelf, number) for number in range(4)])
    path = next((tmp_path / kind).iterdir())
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-10])
    else:
        path.unlink()
    with pytest.raises(BrokenRecord, match=path.name) as caught:
        open_snapshot(tmp_path)
    assert caught.value.hint


def test_a_folder_without_manifest_holds_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        open_snapshot(tmp_path)
    assert "data_collection" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"schema": 2}', json.dumps({"schema": 1, "labels": "x"})]
)
def test_a_manifest_that_is_none_is_a_broken_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BrokenRecord):
        open_snapshot(tmp_path)


def test_a_manifest_cannot_point_out_of_its_folder(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    write([entry(shelf, 0)])
    path = tmp_path / "manifest.json"
    data = json.loads(path.read_text())
    data["image_shards"][0]["path"] = "../../etc/passwd"
    path.write_text(json.dumps(data))
    with pytest.raises(BrokenRecord, match="no shard"):
        open_snapshot(tmp_path)


def test_a_snapshot_travels_to_another_process(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    write([entry(shelf, 1)])
    snapshot = open_snapshot(tmp_path)
    image_id = snapshot.samples[0].image_id
    snapshot.image_bytes(image_id)
    again = pickle.loads(pickle.dumps(snapshot))  # noqa: S301
    assert again.samples == snapshot.samples
    assert bytes(again.image_bytes(image_id)) == bytes(snapshot.image_bytes(image_id))


def test_an_image_that_is_not_in_it_is_not_found(
    write: Write, shelf: ImageShelf, tmp_path: Path
) -> None:
    write([entry(shelf, 1)])
    with pytest.raises(NotFound):
        open_snapshot(tmp_path).image_bytes("0" * 64)

from __future__ import annotations

from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.snapshots import Labels, Manifest
from store.snapshot_contents import SnapshotContents
from store.snapshot_files import SnapshotEntry, write_snapshot
from tests.store.test_snapshot_files import ImageShelf, entry


class Shelf:
    """Snapshots of one folder, and what the database has of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = ImageShelf()
        self.manifests: dict[str, Manifest] = {}
        self.contents = SnapshotContents([folder / "nothing", folder], self.manifests.get)

    def freeze(self, *entries: SnapshotEntry) -> str:
        classes = ClassList(("RBC", "WBC"))
        labels = Labels.ADJUDICATED
        manifest = write_snapshot(self.folder, labels, classes, entries, self.images.get)
        self.manifests[manifest.sha256] = manifest
        return manifest.sha256


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "snapshot")


def test_a_snapshot_tells_which_answers_it_holds_and_which_are_gold(shelf: Shelf) -> None:
    snapshot = shelf.freeze(entry(shelf.images, 1), entry(shelf.images, 2, gold=True))
    asked = ["annotation-1-1", "annotation-2-1", "annotation-3-1"]
    held = {"annotation-1-1": False, "annotation-2-1": True}
    assert shelf.contents.holds(snapshot, asked) == held
    first = shelf.contents.first(snapshot, 1)
    assert first is not None
    assert (len(first[0]), first[1]) == (1, 2)


def test_only_the_latest_answer_to_an_image_counts(shelf: Shelf) -> None:
    old = shelf.freeze(*(entry(shelf.images, number) for number in range(5)))
    new = shelf.freeze(
        *(entry(shelf.images, number, version=1 + (number == 2)) for number in range(5))
    )
    asked = ["annotation-2-1", "annotation-2-2"]
    assert shelf.contents.holds(old, asked) == {"annotation-2-1": False}  # its shards are kept
    assert shelf.contents.holds(new, asked) == {"annotation-2-2": False}
    first = shelf.contents.first(new, 10)
    assert first is not None
    assert first[1] == 5


def test_without_a_row_in_the_database_the_manifest_on_the_disk_is_read(shelf: Shelf) -> None:
    snapshot = shelf.freeze(entry(shelf.images, 1))
    shelf.manifests.clear()
    assert shelf.contents.holds(snapshot, ["annotation-1-1"]) == {"annotation-1-1": False}


@pytest.mark.parametrize("damage", ["gone", "changed", "another manifest", "unknown"])
def test_what_is_not_as_the_digest_says_is_not_known(shelf: Shelf, damage: str) -> None:
    snapshot = shelf.freeze(entry(shelf.images, 1))
    (shard,) = (shelf.folder / "annotations").iterdir()
    data = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    elif damage == "changed":
        shard.write_bytes(data[:-1] + b"?")
    elif damage == "another manifest":
        other = shelf.freeze(entry(shelf.images, 1), entry(shelf.images, 2))
        shelf.manifests[snapshot] = shelf.manifests.pop(other)
    else:
        snapshot = "0" * 64
    assert shelf.contents.holds(snapshot, ["annotation-1-1"]) is None
    assert shelf.contents.first(snapshot, 10) is None
    if damage == "gone":
        shard.write_bytes(data)  # as `dvc checkout` does
        assert shelf.contents.holds(snapshot, ["annotation-1-1"]) == {"annotation-1-1": False}

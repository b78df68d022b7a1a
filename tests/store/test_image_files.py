from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loop.errors import BrokenRecord, NotFound, Unavailable
from store.image_files import FileImageStore, sha256_of
from store.image_store import open_image_store
from store.settings import Settings


@pytest.fixture
def store(tmp_path: Path) -> FileImageStore:
    return FileImageStore(tmp_path / "images")


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_what_is_put_comes_back_by_its_digest(store: FileImageStore) -> None:
    image_id = store.put(b"pixels")
    assert image_id == sha256_of(b"pixels")
    assert store.get(image_id) == b"pixels"


def test_making_a_store_touches_no_disk(tmp_path: Path) -> None:
    FileImageStore(tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_the_same_bytes_are_kept_once(store: FileImageStore, tmp_path: Path) -> None:
    assert store.put(b"pixels") == store.put(b"pixels")
    assert len(list(files(tmp_path))) == 1


def test_files_lie_in_folders_named_by_two_digits(store: FileImageStore, tmp_path: Path) -> None:
    image_id = store.put(b"pixels")
    assert (tmp_path / "images" / image_id[:2] / image_id).is_file()


def test_an_unknown_id_is_not_found(store: FileImageStore) -> None:
    with pytest.raises(NotFound) as caught:
        store.get("0" * 64)
    assert caught.value.hint


@pytest.mark.parametrize("image_id", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_an_id_that_is_none_never_becomes_a_path(store: FileImageStore, image_id: str) -> None:
    with pytest.raises(NotFound):
        store.get(image_id)


def test_changed_bytes_are_noticed(store: FileImageStore, tmp_path: Path) -> None:
    image_id = store.put(b"pixels")
    (tmp_path / "images" / image_id[:2] / image_id).write_bytes(b"pixelS")
    with pytest.raises(BrokenRecord) as caught:
        store.get(image_id)
    assert image_id[:12] in caught.value.message


def test_putting_an_image_again_repairs_its_damaged_file(
    store: FileImageStore, tmp_path: Path
) -> None:
    image_id = store.put(b"pixels")
    (tmp_path / "images" / image_id[:2] / image_id).write_bytes(b"pix")
    store.put(b"pixels")
    assert store.get(image_id) == b"pixels"


def test_a_write_that_fails_leaves_nothing_behind(
    store: FileImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable) as caught:
        store.put(b"pixels")
    assert "No space left" in caught.value.message
    assert list(files(tmp_path)) == []


def test_a_folder_that_is_a_file_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    store = FileImageStore(tmp_path / "images")
    with pytest.raises(Unavailable):
        store.put(b"pixels")
    with pytest.raises(Unavailable):
        store.get(sha256_of(b"pixels"))


def test_many_writers_of_the_same_images_do_not_disturb_each_other(
    store: FileImageStore, tmp_path: Path
) -> None:
    images = [bytes([number]) * 1000 for number in range(8)] * 8
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(store.put, images))
    assert [store.get(image_id) for image_id in ids] == images
    assert len(list(files(tmp_path))) == 8


def test_the_store_of_a_home_lies_in_it(tmp_path: Path) -> None:
    store = open_image_store(Settings(home=tmp_path))
    image_id = store.put(b"pixels")
    assert (tmp_path / "images" / image_id[:2] / image_id).exists()

"""Images where the settings say: in the home, in another folder, in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import BrokenRecord, Misconfigured, NotFound
from store.image_files import sha256_of
from store.image_store import open_image_store
from store.settings import Settings
from tests.s3 import S3Server, open_bucket


@pytest.fixture(params=["home", "folder", "bucket"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    match request.param:
        case "folder":
            return Settings(home=tmp_path, storage_url=f"file://{tmp_path / 'elsewhere'}")
        case "bucket":
            s3: S3Server = request.getfixturevalue("s3")
            return Settings(home=tmp_path, storage_url=s3.bucket())
    return Settings(home=tmp_path)


def test_what_is_put_comes_back_by_its_digest(settings: Settings) -> None:
    store = open_image_store(settings)
    image_id = store.put(b"pixels")
    assert image_id == store.put(b"pixels") == sha256_of(b"pixels")
    assert open_image_store(settings).get(image_id) == b"pixels"


def test_what_is_deleted_is_gone(settings: Settings) -> None:
    store = open_image_store(settings)
    image_id = store.put(b"pixels")
    store.delete(image_id)
    store.delete(image_id)
    store.delete("../secret")
    with pytest.raises(NotFound) as caught:
        store.get(image_id)
    assert "SECONDLOOK_" in caught.value.hint


@pytest.mark.parametrize("image_id", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_an_id_that_is_none_never_becomes_a_path(settings: Settings, image_id: str) -> None:
    with pytest.raises(NotFound):
        open_image_store(settings).get(image_id)


def test_changed_bytes_in_a_bucket_are_noticed_and_repaired(s3: S3Server, tmp_path: Path) -> None:
    url = s3.bucket()
    store = open_image_store(Settings(home=tmp_path, storage_url=url))
    image_id = store.put(b"pixels")
    open_bucket(url).put(f"images/{image_id[:2]}/{image_id}", b"pixelS")
    with pytest.raises(BrokenRecord) as caught:
        store.get(image_id)
    assert image_id[:12] in caught.value.message
    store.put(b"pixels")
    assert store.get(image_id) == b"pixels"


def test_an_unknown_kind_of_url_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        open_image_store(Settings(home=tmp_path, storage_url="gs://bucket"))
    assert "SECONDLOOK_STORAGE_URL" in caught.value.message

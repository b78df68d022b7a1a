"""Where images are kept, by the settings."""

from __future__ import annotations

from pathlib import Path

from loop.ports import ImageStore
from store.image_files import FileImageStore
from store.image_objects import ObjectImageStore
from store.objects import Bucket
from store.settings import Settings
from store.storage_url import BucketStorage, FolderStorage, parse_storage_url


def open_image_store(settings: Settings) -> ImageStore:
    """In the home, or where ``SECONDLOOK_STORAGE_URL`` says. Raises `Misconfigured`."""
    where = _where(settings)
    if isinstance(where, BucketStorage):
        return ObjectImageStore(Bucket(where))
    return FileImageStore(where.folder)


def image_folder(settings: Settings) -> Path | None:
    """None where images are in a bucket. Raises `Misconfigured`."""
    where = _where(settings)
    return where.folder if isinstance(where, FolderStorage) else None


def _where(settings: Settings) -> FolderStorage | BucketStorage:
    return parse_storage_url(settings.storage_url) or FolderStorage(settings.images)

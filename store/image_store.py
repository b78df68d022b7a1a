"""Where images are kept, by the settings."""

from __future__ import annotations

from loop.ports import ImageStore
from store.image_files import FileImageStore
from store.image_objects import ObjectImageStore
from store.objects import Bucket
from store.settings import Settings
from store.storage_url import BucketStorage, FolderStorage, parse_storage_url


def open_image_store(settings: Settings) -> ImageStore:
    """In the home, or where ``SECONDLOOK_STORAGE_URL`` says. Raises `Misconfigured`."""
    match parse_storage_url(settings.storage_url):
        case FolderStorage(folder):
            return FileImageStore(folder)
        case BucketStorage() as storage:
            return ObjectImageStore(Bucket(storage))
        case None:
            return FileImageStore(settings.images)

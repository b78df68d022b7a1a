"""Sanitised images on disk, each in a file named by the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from loop.errors import BrokenRecord, Misconfigured, NotFound, Unavailable
from loop.images import is_sha256
from store.settings import Settings


def sha256_of(data: bytes) -> str:
    """The id of an image with these bytes."""
    return hashlib.sha256(data).hexdigest()


class FileImageStore:
    """Implements `loop.ports.ImageStore` below ``folder``, in 256 folders by the first two hex
    digits. A file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Raises `Unavailable` if the disk does not take it."""
        image_id = sha256_of(data)
        path = self._path(image_id)
        if path.exists():
            return image_id
        draft = path.with_name(f".{image_id}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise Unavailable(
                f"The image cannot be stored in {self._folder}: {error.strerror}.",
                hint="Make room on the disk, or let this user write there.",
            ) from error
        return image_id

    def get(self, image_id: str) -> bytes:
        """Raises `NotFound`, or `BrokenRecord` if the bytes are not those that were put."""
        try:
            data = self._path(image_id).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"The bytes of image {image_id[:12]} are not in the store.") from None
        if sha256_of(data) != image_id:
            raise BrokenRecord(
                f"The stored bytes of image {image_id[:12]} do not match its digest.",
                hint="The disk or somebody changed the file: restore it from a backup.",
            )
        return data

    def _path(self, image_id: str) -> Path:
        if not is_sha256(image_id):  # never a path that somebody made up
            raise NotFound(f"{image_id!r} is not an image id.")
        return self._folder / image_id[:2] / image_id


def open_image_store(settings: Settings) -> FileImageStore:
    if settings.storage_url and not settings.storage_url.startswith("file://"):
        raise Misconfigured(
            f"Storage at {settings.storage_url.split('@')[-1]} is not supported yet.",
            hint="Unset SECONDLOOK_STORAGE_URL to keep images in SECONDLOOK_HOME, or use file://.",
        )
    if settings.storage_url:
        return FileImageStore(Path(settings.storage_url.removeprefix("file://")))
    return FileImageStore(settings.images)


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Image bytes on disk, each file named by the SHA-256 of what is in it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from loop.errors import BrokenRecord, NotFound, Unavailable
from loop.images import is_sha256
from store.durable import sync


def sha256_of(data: bytes) -> str:
    """The id of an image with these bytes."""
    return hashlib.sha256(data).hexdigest()


def check_id(image_id: str) -> None:
    """Never a path or a key that somebody made up. Raises `NotFound`."""
    if not is_sha256(image_id):
        raise NotFound(f"{image_id!r} is not an image id.", hint="An id has 64 hex digits.")


def not_there(image_id: str, setting: str) -> NotFound:
    return NotFound(
        f"The bytes of image {image_id[:12]} are not in the store.",
        hint=f"Check that {setting} is where they were stored.",
    )


def checked_bytes(data: bytes, image_id: str, where: str) -> bytes:
    """``data``, which was read from ``where``. Raises `BrokenRecord` if it has another digest."""
    if sha256_of(data) != image_id:
        raise BrokenRecord(
            f"The stored bytes of image {image_id[:12]} do not match its digest.",
            hint=f"Restore {where} from a backup, or bring in the same image again.",
        )
    return data


class FileImageStore:
    """Implements `loop.ports.ImageStore` in ``folder``, which is made with the first image.

    Files lie in 256 sub-folders, by the first two hex digits of their ids. A file appears whole
    or not at all, and `put` returns only when it is on the disk. Several processes may share the
    folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its id. A damaged file of that id is replaced.

        Raises `Unavailable` when the disk does not take it.
        """
        image_id = sha256_of(data)
        path = self._path(image_id)
        try:
            if not _holds(path, data):
                _write(path, data)
        except OSError as error:
            raise Unavailable(
                f"The image cannot be stored in {self._folder}: {error.strerror}.",
                hint="Make room on the disk, or let this user write there.",
            ) from error
        return image_id

    def get(self, image_id: str) -> bytes:
        """Raises `NotFound`, `BrokenRecord` if the bytes are not those that were put."""
        check_id(image_id)
        path = self._path(image_id)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise not_there(image_id, "SECONDLOOK_HOME") from None
        except OSError as error:
            raise Unavailable(
                f"Image {image_id[:12]} cannot be read: {error.strerror}.",
                hint=f"Check the disk, and that this user may read {self._folder}.",
            ) from error
        return checked_bytes(data, image_id, str(path))

    def delete(self, image_id: str) -> None:
        """Nothing happens if they are not there. Raises `Unavailable` if they cannot be deleted."""
        if not is_sha256(image_id):
            return
        path = self._path(image_id)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync(path.parent)
        except OSError as error:
            raise Unavailable(
                f"Image {image_id[:12]} cannot be deleted: {error.strerror}.",
                hint=f"Let this user write in {self._folder}, and erase it again.",
            ) from error

    def _path(self, image_id: str) -> Path:
        return self._folder / image_id[:2] / image_id


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _write(path: Path, data: bytes) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync(path.parent.parent)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)

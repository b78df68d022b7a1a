"""Image bytes in a bucket, each object named by the SHA-256 of what is in it."""

from __future__ import annotations

from loop.errors import BrokenRecord, NotFound
from loop.images import is_sha256
from store.image_files import sha256_of
from store.objects import Objects

_PREFIX = "images/"


class ObjectImageStore:
    """Implements `loop.ports.ImageStore`; raises what `Objects` does besides."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its id. A damaged object of that id is replaced."""
        image_id = sha256_of(data)
        self._objects.put(_key(image_id), data)
        return image_id

    def get(self, image_id: str) -> bytes:
        """Raises `NotFound`, `BrokenRecord` if the bytes are not those that were put."""
        if not is_sha256(image_id):  # never a key that somebody made up
            raise NotFound(f"{image_id!r} is not an image id.", hint="An id has 64 hex digits.")
        try:
            data = self._objects.get(_key(image_id))
        except NotFound:
            raise NotFound(
                f"The bytes of image {image_id[:12]} are not in the store.",
                hint="Check that SECONDLOOK_STORAGE_URL is where they were stored.",
            ) from None
        if sha256_of(data) != image_id:
            raise BrokenRecord(
                f"The stored bytes of image {image_id[:12]} do not match its digest.",
                hint=f"Restore {_key(image_id)} from a backup, or bring in the same image again.",
            )
        return data

    def delete(self, image_id: str) -> None:
        """Nothing happens if they are not there."""
        if is_sha256(image_id):
            self._objects.delete([_key(image_id)])


def _key(image_id: str) -> str:
    return f"{_PREFIX}{image_id[:2]}/{image_id}"

"""Image bytes in a bucket, each object named by the SHA-256 of what is in it."""

from __future__ import annotations

from loop.errors import NotFound
from loop.images import is_sha256
from store.image_files import check_id, checked_bytes, not_there, sha256_of
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
        check_id(image_id)
        key = _key(image_id)
        try:
            data = self._objects.get(key)
        except NotFound:
            raise not_there(image_id, "SECONDLOOK_STORAGE_URL") from None
        return checked_bytes(data, image_id, key)

    def delete(self, image_id: str) -> None:
        """Nothing happens if they are not there."""
        if is_sha256(image_id):
            self._objects.delete([_key(image_id)])


def _key(image_id: str) -> str:
    return f"{_PREFIX}{image_id[:2]}/{image_id}"

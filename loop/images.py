"""Images, named by what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loop.errors import InvalidInput
from loop.perceptual_hash import is_hash

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Image:
    """One image as the loop keeps it: sanitised, content-addressed, immutable.

    ``id`` is the SHA-256 (hex) of the sanitised bytes; ``width`` and ``height`` are pixels;
    ``subject`` is the pseudonym of the person or specimen it shows (images of one subject never
    sit on both sides of a split); ``source`` says how it came in (``upload``, ``import:voc``…);
    ``gold`` marks the frozen gold set, which no training ever sees; ``phash`` is its
    `loop.perceptual_hash`, None while nobody has computed it.
    """

    id: str
    width: int
    height: int
    media_type: str
    subject: str
    source: str
    created_at: str
    gold: bool = False
    phash: str | None = None

    def __post_init__(self) -> None:
        if not is_sha256(self.id):
            raise InvalidInput(f"Image id {self.id!r} is not a SHA-256 in lower-case hex.")
        if self.width < 1 or self.height < 1:
            raise InvalidInput(f"Image {self.id} has no pixels: {self.width}x{self.height}.")
        if not self.subject:
            raise InvalidInput(f"Image {self.id} has no subject.")
        if self.phash is not None and not is_hash(self.phash):
            raise InvalidInput(f"Image {self.id}: {self.phash!r} is not a perceptual hash.")


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None

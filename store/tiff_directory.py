"""TIFF's directory (TIFF 6.0, section 2), in TIFF files and in EXIF, read without a decoder.

Any of its entries may point to any part of the file, all of them to the same one, or to further
directories: a file of some megabytes can so ask a reader for memory without end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from loop.errors import InvalidImage

UPRIGHT = 1
_ORIENTATION = 274
_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 259, 322, 323
# Tags that say how pixels are laid out: bits, colours, strips, tiles, planes, tables.
_NEEDED = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320}
    | {322, 323, 324, 325, 332, 338, 339, 347, 529, 530, 531, 532}
)
# None, LZW, JPEG, deflate (twice), PackBits, Zstandard. Not fax (libtiff writes a line to stderr
# for each damaged row, of which there may be millions), nor old-style JPEG (it guesses at that),
# nor LZMA and others whose streams choose how much memory is set aside for them.
_COMPRESSIONS = frozenset((1, 5, 7, 8, 32773, 32946, 50000))
# Bytes of a value by its type, 1 to 12.
_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)
_TEXT = (1, 2, 6, 7)
# Strips of one row in an image 65,536 rows high; JPEG tables are shorter than this in bytes.
_MAX_VALUES = 65_536
# Tiles reach over the edges of the image: a small image may lie in a tile of 1024x1024.
_SPARE_TILE_PIXELS = 2**20
_HINT = "Open it in a viewer, save it again, and send that."


@dataclass(frozen=True, slots=True)
class Directory:
    """``data``: the file with its first directory alone, reduced to what pixels need, so that
    neither metadata nor other directories are reached. Pixels as they lie, before turning."""

    data: bytes
    width: int
    height: int


def exif_orientation(exif: bytes) -> int:
    """1 to 8 as EXIF counts them; 1 (upright) where ``exif`` is damaged or does not say."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        order = _byte_order(exif)
        for tag, kind, _, value in _entries(exif, order):
            if tag == _ORIENTATION:
                orientation = _number(order, kind, value)
                return orientation if 1 <= orientation <= 8 else UPRIGHT
    except (ValueError, struct.error):  # a broken block does not make the pixels worse
        pass
    return UPRIGHT


def reduce_tiff(data: bytes, max_pixels: int) -> Directory:
    """Raises `InvalidImage` (``unsupported_type``), and `ValueError` or `struct.error` where the
    directory is damaged. ``max_pixels`` bounds what lies in tiles beyond the image's edges; the
    image itself is for the caller to judge."""
    order = _byte_order(data)
    kept: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, count, value in _entries(data, order):
        if tag in _NEEDED and tag not in kept:  # readers differ on which of two counts
            _check_value(data, order, kind, count, value)
            kept[tag] = (kind, count, value)
    numbers = {
        tag: _number(order, kind, value)
        for tag, (kind, count, value) in kept.items()
        if count == 1 and kind in (1, 3, 4)
    }
    if numbers.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise InvalidImage(
            f"TIFF files with compression {numbers[_COMPRESSION]} are not taken.",
            hint="Save it with LZW or deflate, and send that.",
            code="unsupported_type",
        )
    if _WIDTH not in numbers or _HEIGHT not in numbers:
        raise ValueError("it does not say how large it is")
    width, height = numbers[_WIDTH], numbers[_HEIGHT]
    tile = numbers.get(_TILE_WIDTH, 1), numbers.get(_TILE_HEIGHT, 1)
    if min(tile) < 1 or _padded(width, tile[0]) * _padded(height, tile[1]) > (
        2 * max(max_pixels, width * height) + _SPARE_TILE_PIXELS
    ):
        raise InvalidImage(
            f"The TIFF's tiles of {tile[0]}x{tile[1]} pixels are out of proportion.",
            hint=_HINT,
            code="unsupported_type",
        )
    return Directory(_rewritten(data, order, kept), width, height)


def _byte_order(data: bytes) -> str:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("it has no byte order")
    return order


def _entries(data: bytes, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count and the value's four bytes for each entry of the first directory."""
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    body = data[start + 2 : start + 2 + 12 * count]
    return struct.iter_unpack(order + "HHI4s", body[: len(body) // 12 * 12])


def _check_value(data: bytes, order: str, kind: int, count: int, value: bytes) -> None:
    if not 0 < kind < len(_BYTES):
        raise ValueError(f"a directory entry has the unknown type {kind}")
    if count > _MAX_VALUES:
        raise InvalidImage(
            f"The TIFF's directory has an entry of {count} values.",
            hint=_HINT,
            code="unsupported_type",
        )
    length = count * _BYTES[kind]
    if length > 4 and struct.unpack(order + "I", value)[0] + length > len(data):
        raise ValueError("a directory entry lies behind the end")


def _number(order: str, kind: int, value: bytes) -> int:
    if kind in _TEXT:
        return value[0]
    number: int = struct.unpack(
        order + ("H" if kind == 3 else "I"), value[: 2 if kind == 3 else 4]
    )[0]
    return number


def _padded(length: int, tile: int) -> int:
    return -(-length // tile) * tile


def _rewritten(data: bytes, order: str, kept: dict[int, tuple[int, int, bytes]]) -> bytes:
    (start,) = struct.unpack_from(order + "I", data, 4)
    entries = [struct.pack(order + "HHI4s", tag, *entry) for tag, entry in sorted(kept.items())]
    directory = struct.pack(order + "H", len(kept)) + b"".join(entries) + b"\0\0\0\0"
    # It is no longer than the one that it takes the place of.
    return data[:start] + directory + data[start + len(directory) :]

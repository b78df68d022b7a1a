"""The containers of JPEG, PNG, WebP and BMP, walked before a decoder sees them.

A decoder keeps what it finds on its way to the pixels: each text, profile, thumbnail and EXIF
entry, in memory of the sender's choosing. So it gets the parts that make pixels and nothing
else, and a file with more parts than any writer makes is refused. TIFF: `store.tiff_directory`.

Raises `InvalidImage` (code ``unsupported_type``); `ValueError` and `struct.error` where the file
is damaged, which `store.image_codec` translates.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from loop.errors import InvalidImage
from store.tiff_directory import UPRIGHT, exif_orientation


@dataclass(frozen=True, slots=True)
class Stripped:
    """``data`` decodes to the same pixels as before. ``orientation`` is EXIF's, 1 to 8.
    ``size`` is WebP's (width, height), which must be known before its decoder is started."""

    data: bytes
    orientation: int = UPRIGHT
    size: tuple[int, int] = (0, 0)


# 32 MiB of the longest segments are 512.
_MAX_JPEG_SEGMENTS = 1000
# 32 MiB in chunks of 8 KiB, as libpng writes them, are 4096.
_MAX_CHUNKS = 65_536
_FILL = re.compile(rb"\xff+")
_SOS, _EOI, _COMMENT = 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
# Markers without a length: TEM, RST0 to RST7, SOI; 0 stands for a stuffed byte.
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
# WebP's VP8X flags: which extras there are.
_ANIMATED, _ALPHA = 0x02, 0x10
_BMP_RLE = (1, 2)


def strip_jpeg(data: bytes) -> Stripped:
    """Everything before the first scan but JFIF's and Adobe's segment, which say what the colours
    mean, loses its metadata; what comes between later scans is skipped by libjpeg unread."""
    kept = [data[:2]]
    orientation: int | None = None
    at = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        fill = _FILL.search(data, at)
        if fill is None or fill.end() >= len(data):
            raise ValueError("it ends before its pixels")
        marker, start = data[fill.end()], fill.end() + 1
        at = start
        if marker in _BARE:
            continue
        if marker == _EOI:
            raise ValueError("it has no pixels")
        if marker == _SOS:
            kept += [b"\xff", data[start - 1 :]]
            return Stripped(b"".join(kept), orientation or UPRIGHT)
        at = start + int.from_bytes(data[start : start + 2], "big")
        if at > len(data) or at < start + 2:
            raise ValueError("a segment is longer than the file")
        if marker == _APP1 and data[start + 2 : start + 8] == b"Exif\0\0" and orientation is None:
            orientation = exif_orientation(data[start + 2 : at])
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            kept += [b"\xff", data[start - 1 : at]]
    raise _too_many("segments")


def strip_png(data: bytes) -> Stripped:
    """Critical chunks and tRNS stay: no text, no profile, no frames after the first."""
    kept = [data[:8]]
    orientation: int | None = None
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind == b"eXIf" and orientation is None:
            orientation = exif_orientation(data[at + 8 : end - 4])
        if kind == b"tRNS" or not kind[0] & 0x20:  # bit 5: ancillary
            kept.append(data[at:end])
        if kind == b"IEND":
            break
        at = end
    else:
        raise _too_many("chunks")
    return Stripped(b"".join(kept), orientation or UPRIGHT)


def strip_webp(data: bytes) -> Stripped:
    """The still picture, or the first frame of an animation on its canvas."""
    chunks = list(_riff_chunks(data))
    if not chunks:
        raise ValueError("it has no pixels")
    kind, at, _ = chunks[0]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, at + 14)
        return _webp(chunks[0], data, (width & 0x3FFF, height & 0x3FFF))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, at + 9)
        return _webp(chunks[0], data, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    if kind != b"VP8X":
        raise ValueError("it does not begin with pixels")
    flags = data[at + 8] & (_ANIMATED | _ALPHA)
    canvas = data[at + 12 : at + 18]
    size = (int.from_bytes(canvas[:3], "little") + 1, int.from_bytes(canvas[3:], "little") + 1)
    wanted = (b"ANIM", b"ANMF") if flags & _ANIMATED else (b"ALPH", b"VP8 ", b"VP8L")
    parts = [b"VP8X" + struct.pack("<IB3x", 10, flags) + canvas]
    seen: set[bytes] = set()
    orientation = UPRIGHT
    for kind, start, end in chunks[1:]:
        if kind == b"EXIF" and kind not in seen:
            orientation = exif_orientation(data[start + 8 : end])
        elif kind in wanted and kind not in seen:
            parts.append(data[start:end])
        seen.add(kind)
    return Stripped(_riff(b"".join(parts)), orientation, size)


def check_bmp(data: bytes) -> Stripped:
    """Run lengths are refused: Pillow expands them byte by byte in Python, and lets one code skip
    255 rows, which are gigabytes where the rows are long."""
    header_bytes, compression = struct.unpack_from("<I12xI", data, 14)
    if header_bytes >= 40 and compression in _BMP_RLE:
        raise InvalidImage(
            "Run-length encoded BMP files are not taken.",
            hint="Save it as PNG, and send that.",
            code="unsupported_type",
        )
    return Stripped(data)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk within the length that the file gives for itself."""
    stop = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > stop:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        yield kind, at, min(end, stop)
        at = end
    raise _too_many("chunks")


def _webp(chunk: tuple[bytes, int, int], data: bytes, size: tuple[int, int]) -> Stripped:
    _, start, end = chunk
    return Stripped(_riff(data[start:end]), size=size)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _too_many(parts: str) -> InvalidImage:
    return InvalidImage(
        f"The file has more {parts} than an image needs.",
        hint="Open it in a viewer, save it again, and send that.",
        code="unsupported_type",
    )

"""Small files that ask a decoder for much: refused, or opened without what they ask for."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from loop.errors import InvalidInput
from store.image_codec import Limits, decode, sanitise
from tests.memory import peak_growth_mib
from tests.store.test_image_codec import encoded, png_chunk, webp_of_canvas

LIMITS = Limits(max_bytes=32 * 2**20, max_pixels=50_000_000)
# A decoder that is fed a bomb takes hundreds of these, or far longer than the timeout.
SLACK_MIB = 32
MIB = 2**20

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

PNG = encoded("PNG")
JPEG = encoded("JPEG")
PNG_START = 33  # the signature and IHDR
TIFF_BASE = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16}
EXIF_HEADER = b"Exif\0\0"


def tiff(tags: dict[int, int], more: list[bytes] = [], tail: bytes = b"") -> bytes:  # noqa: B006
    """``tags`` are single LONGs; ``more`` are whole entries behind them."""
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    entries += more
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return header + b"".join(entries) + b"\0\0\0\0" + tail


def sharing_tags(first: int = 60_000) -> list[bytes]:
    """Two hundred entries that all have the same four megabytes for their value."""
    return [struct.pack("<HHII", first + index, 7, 4 * MIB, 8) for index in range(200)]


def tags_that_share_a_value() -> bytes:
    return tiff(TIFF_BASE, sharing_tags(), b"x" * 4 * MIB)


def subdirectory_that_shares_a_value() -> bytes:
    at = 8 + 2 + 12 * 10 + 4
    entries = sharing_tags()
    below = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return tiff(TIFF_BASE | {34665: at}, tail=below + b"x" * 4 * MIB)


def directory_that_is_its_own_next() -> bytes:
    data = tiff(TIFF_BASE, tail=b"x" * 64)
    end = 8 + 2 + 12 * len(TIFF_BASE)
    return data[:end] + struct.pack("<I", 8) + data[end + 4 :]


def resolution_of_a_million_rationals() -> bytes:
    entry = struct.pack("<HHII", 282, 5, MIB, 8)
    return tiff(TIFF_BASE, [entry], b"\1" * 8 * MIB)


def a_million_strips() -> bytes:
    tags = {tag: value for tag, value in TIFF_BASE.items() if tag not in (273, 279)}
    lists = [struct.pack("<HHII", tag, 4, MIB, 8) for tag in (273, 279)]
    return tiff(tags | {257: MIB, 278: 1}, lists, b"\1\0\0\0" * MIB)


def a_tile_larger_than_memory(width: int = 4, side: int = 30_000) -> bytes:
    squeezed = zlib.compress(b"\0" * MIB)
    tags = {256: width, 257: 4, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    return tiff(tags | {324: 134, 325: len(squeezed)}, tail=squeezed)


def old_style_jpeg() -> bytes:
    return tiff(TIFF_BASE | {259: 6}, tail=b"x" * 64)


def lzma() -> bytes:
    return encoded("TIFF", compression="lzma")


def fax_that_fills_the_log() -> bytes:
    return tiff(TIFF_BASE | {257: 10_000_000, 258: 1, 259: 4}, tail=b"x" * 64)


def exif_bomb() -> bytes:
    return tiff({274: 1}, sharing_tags(), b"x" * 4 * MIB)


def png_with(chunk: bytes, times: int = 1) -> bytes:
    return PNG[:PNG_START] + chunk * times + PNG[PNG_START:]


def png_exif() -> bytes:
    return png_with(png_chunk(b"eXIf", exif_bomb()))


def png_profile() -> bytes:
    return png_with(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 64 * MIB)))


def png_texts() -> bytes:
    return png_with(png_chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * MIB)), 500)


def png_pixels_without_end() -> bytes:
    body = zlib.compress(b"\0" * 256 * MIB, 1)
    return PNG[:PNG_START] + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def png_of_countless_chunks() -> bytes:
    return png_with(png_chunk(b"prVt", b""), 500_000)


def png_of_countless_empty_idats() -> bytes:
    return png_with(png_chunk(b"IDAT", b""), 500_000)


def jpeg_exif() -> bytes:
    exif = exif_bomb()
    parts = [EXIF_HEADER + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts]
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def jpeg_of_countless_segments() -> bytes:
    return JPEG[:2] + b"\xff\xe5\0\2" * 1_000_000 + JPEG[2:]


def jpeg_of_large_segments() -> bytes:
    return JPEG[:2] + (b"\xff\xe5\xff\xff" + b"x" * 65_533) * 400 + JPEG[2:]


def jpeg_of_fill_bytes() -> bytes:
    return JPEG[:2] + b"\xff" * 4 * MIB + JPEG[2:]


def large_jpeg_of_many_scans() -> bytes:
    data = encoded("JPEG", Image.new("L", (4000, 4000)), progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * 80 + b"\xff\xd9"


def webp_exif() -> bytes:
    return encoded("WEBP", exif=exif_bomb())


def webp_canvas() -> bytes:
    return webp_of_canvas(2**24, 200)


def webp_of_countless_frames() -> bytes:
    data = webp_of_canvas(24, 16)
    at = data.index(b"ANMF")
    body = data[12:] + data[at:] * 70_000
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp_run_length(rows: bytes, width: int = 40_000_000, height: int = 1) -> bytes:
    palette = b"".join(bytes((grey, 0, grey, 0)) for grey in range(256))
    header = struct.pack("<IIIHHIIIIII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start, 0, 0, start) + header + palette + rows


def bmp_that_skips_rows() -> bytes:
    return bmp_run_length(b"\0\2\0\xff")


def bmp_of_codes_without_pixels() -> bytes:
    return bmp_run_length(b"\1\1" * MIB, 1, 1000)


REFUSED: dict[Callable[[], bytes], str] = {
    a_million_strips: "unsupported_type",
    a_tile_larger_than_memory: "unsupported_type",
    old_style_jpeg: "unsupported_type",
    fax_that_fills_the_log: "unsupported_type",
    lzma: "unsupported_type",
    png_of_countless_chunks: "unsupported_type",
    png_of_countless_empty_idats: "unsupported_type",
    jpeg_of_countless_segments: "unsupported_type",
    large_jpeg_of_many_scans: "unsupported_type",
    webp_canvas: "too_many_pixels",
    webp_of_countless_frames: "unsupported_type",
    bmp_that_skips_rows: "unsupported_type",
    bmp_of_codes_without_pixels: "unsupported_type",
}
OPENED = [
    tags_that_share_a_value,
    subdirectory_that_shares_a_value,
    directory_that_is_its_own_next,
    resolution_of_a_million_rationals,
    png_exif,
    png_profile,
    png_texts,
    png_pixels_without_end,
    jpeg_exif,
    jpeg_of_large_segments,
    jpeg_of_fill_bytes,
    webp_exif,
]


@pytest.mark.parametrize("bomb", REFUSED, ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_refused_from_its_header_and_takes_no_memory(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    assert len(data) < LIMITS.max_bytes

    def refused() -> None:
        with pytest.raises(InvalidInput) as raised:
            decode(data, LIMITS)
        assert raised.value.detail_code == REFUSED[bomb]
        assert raised.value.hint

    assert peak_growth_mib(refused) < SLACK_MIB


@pytest.mark.parametrize("bomb", OPENED, ids=lambda bomb: bomb.__name__)
def test_what_a_bomb_carries_besides_pixels_is_not_read(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    assert len(data) < LIMITS.max_bytes
    # What is left of the file may be copied, twice at most.
    assert peak_growth_mib(lambda: sanitise(data, LIMITS)) < SLACK_MIB + 3 * len(data) / MIB


@pytest.mark.parametrize(
    ("format", "image", "options"),
    [
        ("PNG", Image.fromarray(np.zeros((2000, 2000), np.uint16)), {}),
        ("TIFF", Image.fromarray(np.zeros((2000, 2000), np.float32)), {"compression": "tiff_lzw"}),
        ("TIFF", Image.fromarray(np.zeros((2000, 2000), np.int32)), {"compression": "tiff_lzw"}),
        ("PNG", Image.new("RGBA", (2000, 2000)), {}),
        ("PNG", Image.new("P", (2000, 2000)), {"transparency": 0}),
        ("JPEG", Image.new("CMYK", (2000, 2000)), {"progressive": True}),
        ("WEBP", Image.new("RGBA", (2000, 2000)), {"method": 0}),
    ],
    ids=["grey16", "float", "int", "rgba", "palette", "cmyk", "webp"],
)
def test_an_image_takes_no_more_than_twenty_bytes_a_pixel(
    format: str, image: Image.Image, options: dict[str, object]
) -> None:
    data = encoded(format, image, **options)
    grown = peak_growth_mib(lambda: decode(data, LIMITS))
    assert grown < SLACK_MIB + 20 * 4_000_000 / MIB

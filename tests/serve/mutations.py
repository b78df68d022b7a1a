"""Image files of every kind that is taken, and seeded ways to spoil them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 28
# What else a file may be at the same time: a page, a program, an archive, another image.
COMPANIONS = (
    b"<!doctype html><script>alert(1)</script>",
    b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
    b"PK\x03\x04\x14\0\0\0\0\0" + b"\0" * 20 + b"PK\x05\x06" + b"\0" * 18,
    b"\x7fELF\2\1\1" + b"\0" * 57,
    b"GIF89a\1\0\1\0\0\0\0;",
    b"#!/bin/sh\nexit 0\n",
)
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Mutation = Callable[[random.Random, bytes], bytes]


def valid_files() -> dict[str, bytes]:
    """By name, one of each container, mode, depth and compression."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [columns * 6, rows * 9, (rows + columns) * 3]
    rgb = Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))
    grey = rgb.convert("L")
    deep = Image.fromarray((rows * 2000 + columns).astype(np.uint16))
    rgba = rgb.copy()
    rgba.putalpha(grey)
    palette = rgb.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(180)]}
    tiff = {
        f"tiff-{name}": _file("TIFF", rgb, compression=name)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
    }
    return tiff | {
        "jpeg": _file("JPEG", rgb, exif=exif, comment=b"a comment", icc_profile=b"p" * 200),
        "jpeg-progressive": _file("JPEG", rgb, progressive=True),
        "jpeg-cmyk": _file("JPEG", rgb.convert("CMYK")),
        "jpeg-grey": _file("JPEG", grey),
        "jpeg-restarts": _file("JPEG", rgb, restart_marker_blocks=2),
        "png-1": _file("PNG", grey.convert("1")),
        "png-8": _file("PNG", rgb, exif=exif, icc_profile=b"p" * 200),
        "png-16": _file("PNG", deep),
        "png-palette": _file("PNG", palette, transparency=3),
        "png-alpha": _file("PNG", rgba),
        "png-grey-alpha": _file("PNG", grey.convert("LA")),
        "png-interlaced": interlaced_png(np.asarray(grey)),
        "png-animated": _file("PNG", rgb, **frames),
        "tiff-grey16": _file("TIFF", deep),
        "tiff-big-endian": big_endian_tiff(np.asarray(grey)),
        "tiff-tiled": tiled_tiff(np.asarray(grey)),
        "tiff-palette": _file("TIFF", palette),
        "tiff-cmyk": _file("TIFF", rgb.convert("CMYK"), compression="tiff_lzw"),
        "tiff-1": _file("TIFF", grey.convert("1"), compression="packbits"),
        "tiff-float": _file("TIFF", grey.convert("F")),
        "tiff-pages": _file("TIFF", rgb, **frames),
        "bmp-24": _file("BMP", rgb),
        "bmp-8": _file("BMP", palette),
        "bmp-32": _file("BMP", rgba),
        "bmp-1": _file("BMP", grey.convert("1")),
        "webp-lossy": _file("WEBP", rgb),
        "webp-lossless": _file("WEBP", rgb, lossless=True),
        "webp-alpha": _file("WEBP", rgba, exif=exif),
        "webp-animated": _file("WEBP", rgb, **frames),
    }


def interlaced_png(grey: np.ndarray) -> bytes:
    """8-bit grey in Adam7's order (PNG, section 8.2), which Pillow reads but does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    raw = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, right in (*passes, (1, 0, 2, 1))
        for row in grey[top::down, left::right]
    )
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, body) for kind, body in parts)


def big_endian_tiff(samples: np.ndarray, photometric: int = 1, bits: int = 8) -> bytes:
    """Grey, in one strip."""
    tags = {258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: samples.shape[0]}
    return _tiff(">", samples, tags, samples.astype(f">u{bits // 8}").tobytes())


def tiled_tiff(grey: np.ndarray, side: int = 16) -> bytes:
    """Grey of 8 bits, in tiles that reach over the right and lower edge."""
    height, width = grey.shape
    padded = np.pad(grey, ((0, -height % side), (0, -width % side)))
    down, across = padded.shape[0] // side, padded.shape[1] // side
    tiles = padded.reshape(down, side, across, side).swapaxes(1, 2)
    count, length = down * across, side * side
    offsets = struct.pack(f"<{count}I", *(8 + length * index for index in range(count)))
    lengths = struct.pack(f"<{count}I", *[length] * count)
    at = 8 + length * count
    tags = {258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side}
    more = {324: (count, at), 325: (count, at + 4 * count)}
    return _tiff("<", grey, tags, tiles.tobytes() + offsets + lengths, more)


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` spoiled files with a name that says which and how; the same for a seed."""
    files = valid_files()
    names = sorted(files)
    for index in range(count):
        rng = random.Random(f"{seed}-{index}")
        name = names[index % len(names)]
        mutation = MUTATIONS[index // len(names) % len(MUTATIONS)]
        if mutation is _splice:
            data = _splice(rng, files[name], files[rng.choice(names)])
        else:
            data = mutation(rng, files[name])
        yield f"{index}-{name}-{mutation.__name__.strip('_')}", data


def _bit_flips(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _header_flips(rng: random.Random, data: bytes) -> bytes:
    head = min(len(data), 160)
    return _bit_flips(rng, data[:head]) + data[head:]


def _byte_run(rng: random.Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((1, 4, 16, 200))
    return data[:at] + bytes([rng.choice((0, 0xFF, 0x41))]) * length + data[at + length :]


def _truncation(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(1, len(data))]


def _extreme_numbers(rng: random.Random, data: bytes) -> bytes:
    """Lengths, sizes, offsets and counts all stand in the first bytes or in the directory."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 2, 3))):
        form = rng.choice(("<H", ">H", "<I", ">I"))
        at = rng.randrange(2, max(min(len(data), rng.choice((40, 200, 10_000))) - 4, 3))
        limit = 2 ** (8 * struct.calcsize(form))
        struct.pack_into(form, spoiled, at, rng.choice(_EXTREMES) % limit)
    return bytes(spoiled)


def _moved_pieces(rng: random.Random, data: bytes) -> bytes:
    cuts = sorted(rng.randrange(len(data)) for _ in range(3))
    first, second, third, last = (
        data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    )
    orders = (
        (first, third, second, last),
        (first, second, second, third, last),
        (first, second * 50, third, last),
        (first, last),
    )
    return b"".join(rng.choice(orders))


def _moved_chunks(rng: random.Random, data: bytes) -> bytes:
    """PNG's chunks with right checksums, WebP's chunks, or JPEG's segments, out of order."""
    head, chunks = _chunks(data)
    if not chunks:
        return _moved_pieces(rng, data)
    for _ in range(rng.choice((1, 2, 4))):
        at, to = rng.randrange(len(chunks)), rng.randrange(len(chunks))
        change = rng.choice(("copy", "swap", "drop", "spoil"))
        if change == "copy":
            chunks.insert(to, chunks[at])
        elif change == "swap":
            chunks[at], chunks[to] = chunks[to], chunks[at]
        elif change == "drop" and len(chunks) > 1:
            del chunks[at]
        elif data.startswith(b"\x89PNG") and len(chunks[at]) > 12:
            body = _bit_flips(rng, chunks[at][8:-4])
            chunks[at] = _png_chunk(chunks[at][4:8], body)  # passes the check of its sum
    return head + b"".join(chunks)


def _companion_behind(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice(COMPANIONS) * rng.choice((1, 100))


def _companion_before(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(COMPANIONS) + data


def _companion_within(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice(COMPANIONS) + data[at:]


def _splice(rng: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """The start of one file and the end of another: by chance of another kind."""
    return data[: rng.randrange(1, len(data))] + other[rng.randrange(len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (
    _bit_flips,
    _header_flips,
    _byte_run,
    _truncation,
    _extreme_numbers,
    _moved_pieces,
    _moved_chunks,
    _companion_behind,
    _companion_before,
    _companion_within,
    _splice,
)


def _chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    if data.startswith(b"\x89PNG"):
        return data[:8], list(_pieces(data, 8, ">I", 12))
    if data.startswith(b"RIFF"):
        return data[:12], list(_pieces(data, 12, "<4xI", 8))
    if data.startswith(b"\xff\xd8"):
        return data[:2], list(_pieces(data, 2, ">2xH", 2))
    return data, []


def _pieces(data: bytes, at: int, form: str, more: int) -> Iterator[bytes]:
    while at + 12 <= len(data):
        if data[at : at + 2] == b"\xff\xda":
            break
        end = at + struct.unpack_from(form, data, at)[0] + more
        yield data[at:end]
        at = end
    yield data[at:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _tiff(
    order: str,
    samples: np.ndarray,
    tags: dict[int, int],
    data: bytes,
    more: dict[int, tuple[int, int]] | None = None,
) -> bytes:
    height, width = samples.shape
    entries = {tag: (1, value) for tag, value in tags.items()} | (more or {})
    entries |= {256: (1, width), 257: (1, height)}
    if 273 in tags:
        entries[279] = (1, len(data))
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(entries)) + b"".join(
        struct.pack(order + "HHII", tag, 4, *entry) for tag, entry in sorted(entries.items())
    )
    return start + struct.pack(order + "I", 8 + len(data)) + data + directory + b"\0\0\0\0"


def _file(format: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()

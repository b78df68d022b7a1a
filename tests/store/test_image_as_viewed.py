"""Images of unusual kinds come out as a viewer shows them, and what is kept says nothing else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from store.image_codec import Limits, decode, sanitise
from tests.serve.mutations import big_endian_tiff, interlaced_png, tiled_tiff
from tests.store.test_image_codec import encoded, png_chunk, smooth

LIMITS = Limits(1_000_000, 10_000)
GREY = smooth()[:, :, 0]


def png(bits: int, colour: int, row: bytes, width: int, *chunks: bytes) -> bytes:
    """One row of ``width`` pixels; ``colour`` is the PNG's colour type."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"\0" + row)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body


def transparent(*samples: int) -> bytes:
    return png_chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


def shorts(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def tiff_row(order: str, samples: list[int], photometric: int, bits: int) -> bytes:
    row = np.array([samples], np.uint16)
    if order == ">":
        return big_endian_tiff(row, photometric, bits)
    data = row.astype(f"<u{bits // 8}").tobytes()
    tags = {256: len(samples), 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1}
    tags |= {273: 8 + 2 + 12 * 9 + 4, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data


WHITE, BLACK = [255, 255, 255], [0, 0, 0]
# What a viewer shows in the one row of each.
ROWS = {
    "png rgb 16": (png(16, 2, shorts(65535, 32896, 0), 1), [[255, 128, 0]]),
    "png rgba 16": (
        png(16, 6, shorts(65535, 0, 0, 0, 0, 0, 65535, 65535), 2),
        [WHITE, [0, 0, 255]],
    ),
    "png grey alpha 16": (png(16, 4, shorts(0, 0, 0, 65535), 2), [WHITE, BLACK]),
    "png grey alpha 8": (png(8, 4, bytes((0, 0, 0, 255)), 2), [WHITE, BLACK]),
    "png rgba 8": (png(8, 6, bytes((255, 0, 0, 128)), 1), [[255, 127, 127]]),
    "png grey 16 transparent": (png(16, 0, shorts(300, 0), 2, transparent(300)), [WHITE, BLACK]),
    "png rgb 16 transparent": (
        png(16, 2, shorts(0x0A0B, 0x0C0D, 0x0E0F, 0, 0, 0), 2, transparent(0x0A0B, 0x0C0D, 0x0E0F)),
        [WHITE, BLACK],
    ),
    "png grey 2 transparent": (png(2, 0, b"\x10", 2, transparent(1)), [BLACK, WHITE]),
    "png grey 4 transparent": (png(4, 0, b"\x30", 2, transparent(3)), [WHITE, BLACK]),
    "png grey 1 transparent": (png(1, 0, b"\x40", 2, transparent(0)), [WHITE, WHITE]),
    "png palette half transparent": (
        png(
            1,
            3,
            b"\x40",
            2,
            png_chunk(b"PLTE", bytes((0, 0, 0, 255, 0, 0))),
            png_chunk(b"tRNS", bytes((0, 128))),
        ),
        [WHITE, [255, 127, 127]],
    ),
    "tiff grey 16, little-endian": (tiff_row("<", [0, 257, 65535], 1, 16), [BLACK, [1] * 3, WHITE]),
    "tiff grey 16, big-endian": (tiff_row(">", [0, 257, 65535], 1, 16), [BLACK, [1] * 3, WHITE]),
    "tiff white is zero 8": (tiff_row("<", [0, 255], 0, 8), [WHITE, BLACK]),
    "tiff white is zero 16": (tiff_row("<", [0, 65535], 0, 16), [WHITE, BLACK]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_pixels_is_as_a_viewer_shows_it(name: str) -> None:
    data, shown = ROWS[name]
    assert decode(data, LIMITS).pixels[0].tolist() == shown
    assert sanitise(data, LIMITS).pixels[0].tolist() == shown


def test_twelve_bits_of_a_tiff_reach_white() -> None:
    # 4095 and 0 in three bytes.
    data = tiff_row("<", [0, 0], 1, 16).replace(
        struct.pack("<HHII", 258, 4, 1, 16), struct.pack("<HHII", 258, 4, 1, 12)
    )
    packed = data[:-4] + b"\xff\xf0\x00" + b"\0"
    assert decode(packed, LIMITS).pixels[0].tolist() == [WHITE, BLACK]


@pytest.mark.parametrize(
    "data",
    [big_endian_tiff(GREY), tiled_tiff(GREY), interlaced_png(GREY)],
    ids=["big-endian", "tiled", "interlaced"],
)
def test_the_order_of_samples_in_the_file_does_not_matter(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, np.stack([GREY] * 3, axis=2))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
def test_every_lossless_compression_of_a_tiff_is_read(compression: str) -> None:
    data = encoded("TIFF", compression=compression)
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, smooth())


def test_a_ycck_jpeg_has_the_colours_it_shows() -> None:
    # As libjpeg reads it: the planes are YCbCr of inverted CMY, and Adobe's segment says so.
    inverted = Image.new("RGB", (16, 16), (255 - 200, 255 - 40, 255 - 90)).convert("YCbCr")
    planes = [plane.point(lambda value: 255 - value) for plane in inverted.split()]
    stored = Image.merge("CMYK", [*planes, Image.new("L", (16, 16), 0)])
    data = bytearray(encoded("JPEG", stored, quality=98))
    assert data[data.index(b"Adobe") + 11] == 0
    cmyk = decode(bytes(data), LIMITS).pixels
    data[data.index(b"Adobe") + 11] = 2
    shown = decode(bytes(data), LIMITS).pixels[8, 8].astype(int)
    assert np.abs(shown - cmyk[8, 8]).max() > 30
    with Image.open(io.BytesIO(bytes(data))) as reference:
        expected = np.asarray(reference.convert("RGB"))[8, 8]
    assert np.abs(shown - expected).max() <= 2


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "PNG"])
def test_of_several_pictures_the_first_is_taken(format: str) -> None:
    others = [Image.new("RGB", (24, 16), (255, 0, 255))] * 2
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(format, save_all=True, append_images=others, **options)
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, smooth())


def test_the_camera_s_orientation_counts_not_the_thumbnail_s() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\x1a\0\0\0"
    thumbnail = b"\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0"
    assert decode(encoded("PNG", exif=exif + thumbnail), LIMITS).width == 16


SECRET = b"PATIENT-NAME"


def metadata_in_every_place() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[29] = SECRET.decode()  # the GPS block
    text = PngInfo()
    text.add_text("a", SECRET.decode())
    text.add_text("b", SECRET.decode(), zip=True)
    text.add_itxt("c", SECRET.decode())
    jpeg = encoded("JPEG")
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x11\x1c\2\x78\0\x0c" + SECRET
    iptc = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    return {
        "jpeg exif and gps": encoded("JPEG", exif=exif),
        "jpeg xmp, comment": encoded("JPEG", comment=SECRET, xmp=SECRET),
        "jpeg profile": encoded("JPEG", icc_profile=SECRET * 9),
        "jpeg iptc": jpeg[:2] + iptc + jpeg[2:],
        "jpeg behind the end": jpeg + SECRET,
        "jpeg in between scans": jpeg[:-2] + b"\xff\xfe\0\x0e" + SECRET + b"\xff\xd9",
        "png texts": encoded("PNG", pnginfo=text, exif=exif, icc_profile=SECRET * 9),
        "png private chunk": encoded("PNG")[:33] + png_chunk(b"prVt", SECRET) + encoded("PNG")[33:],
        "tiff tags": encoded("TIFF", tiffinfo={270: SECRET.decode(), 700: SECRET, 33723: SECRET}),
        "tiff gps": encoded("TIFF", exif=exif),
        "webp": encoded("WEBP", exif=exif, xmp=SECRET, icc_profile=SECRET * 9),
        "bmp behind the end": encoded("BMP") + SECRET,
    }


@pytest.mark.parametrize("name", metadata_in_every_place())
def test_nothing_but_pixels_is_kept(name: str) -> None:
    data = metadata_in_every_place()[name]
    assert SECRET in data or "texts" in name
    clean = sanitise(data, LIMITS)
    assert SECRET not in clean.data
    with Image.open(io.BytesIO(clean.data)) as kept:
        assert not kept.getexif()
        extras = {"comment", "exif", "xmp", "icc_profile", "photoshop", "a", "b", "c"}
        assert not extras & set(kept.info)

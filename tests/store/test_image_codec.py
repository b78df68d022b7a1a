"""What comes out of image bytes, and that nothing but a LoopError comes out of hostile ones."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loop.errors import InvalidImage, InvalidInput, LoopError, TooLarge
from loop.perceptual_hash import NO_HASH, perceptual_hash
from store import image_codec
from store.image_codec import Limits, decode, encode_jpeg, encode_png, hash_of, sanitise

# Pillow warns of odd metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMITS = Limits(max_bytes=1_000_000, max_pixels=10_000)
SUPPORTED = ["JPEG", "PNG", "TIFF", "BMP", "WEBP"]


def smooth(width: int = 24, height: int = 16) -> np.ndarray:
    """A picture without symmetry, soft enough for JPEG to keep: (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [columns * 200 / width, rows * 200 / height, (rows + columns) * 2 + 60]
    return np.stack(planes, axis=2).astype(np.uint8)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def encoded(format: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(smooth())).save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b"")


def webp_of_canvas(width: int, height: int) -> bytes:
    """An animated WebP whose header promises a canvas that its one frame does not fill."""
    frame = encoded("WEBP", lossless=True)[12:]
    place = b"\0" * 6 + (23).to_bytes(3, "little") + (15).to_bytes(3, "little") + b"\0" * 4
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0"
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    body += b"ANMF" + struct.pack("<I", len(place + frame)) + place + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidInput) as decoding:
        decode(data, limits)
    with pytest.raises(InvalidInput) as sanitising:
        sanitise(data, limits)
    assert decoding.value.hint
    assert decoding.value.detail_code == sanitising.value.detail_code
    return decoding.value.detail_code


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_decode_to_the_very_pixels(format: str) -> None:
    image = decode(encoded(format), LIMITS)
    np.testing.assert_array_equal(image.pixels, smooth())
    assert (image.width, image.height) == (24, 16)
    assert image.media_type == f"image/{format.lower()}"
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.writeable


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_decode_to_nearly_the_pixels(format: str) -> None:
    image = decode(encoded(format, quality=95), LIMITS)
    assert np.abs(image.pixels.astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_image_is_turned_as_its_exif_says(format: str, orientation: int) -> None:
    upright = smooth()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(format, Image.fromarray(np.ascontiguousarray(stored)), exif=exif, quality=95)
    for pixels in (decode(data, LIMITS).pixels, sanitise(data, LIMITS).pixels):
        assert pixels.shape == upright.shape
        assert np.abs(pixels.astype(int) - upright).mean() < 4


def test_an_orientation_that_does_not_exist_changes_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(decode(encoded("PNG", exif=exif), LIMITS).pixels, smooth())


def test_a_broken_exif_block_does_not_make_the_image_unusable() -> None:
    data = encoded("PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data, LIMITS).width == 24


def test_grey_becomes_three_equal_channels() -> None:
    grey = smooth()[:, :, 0]
    pixels = decode(encoded("PNG", Image.fromarray(grey)), LIMITS).pixels
    np.testing.assert_array_equal(pixels, np.stack([grey] * 3, axis=2))


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.new("1", (4, 2), 1)
    image.putpixel((0, 0), 0)
    pixels = decode(encoded("PNG", image), LIMITS).pixels
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[1, 3].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled_to_eight_not_cut_off() -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = decode(encoded("PNG", Image.fromarray(wide)), LIMITS).pixels
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_of_a_tiff_are_scaled_by_the_range_they_use() -> None:
    for white in (1.0, 255.0, 65535.0):
        values = np.array([[0, white / 5, white, np.nan]], dtype=np.float32)
        pixels = decode(encoded("TIFF", Image.fromarray(values)), LIMITS).pixels
        assert pixels[0, :, 0].tolist() == [0, 51, 255, 0]


def test_transparency_is_shown_over_white() -> None:
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (10, 0))):
        pixels = decode(encoded("PNG", Image.new(mode, (3, 3), colour)), LIMITS).pixels
        assert pixels[1, 1].tolist() == [255, 255, 255]
    half = decode(encoded("PNG", Image.new("RGBA", (3, 3), (255, 0, 0, 128))), LIMITS).pixels
    assert half[1, 1].tolist() == [255, 127, 127]


def test_a_palette_keeps_its_colours_and_its_transparent_entry() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert decode(encoded("PNG", image), LIMITS).pixels[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    pixels = decode(encoded("PNG", image, transparency=1), LIMITS).pixels
    assert pixels[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_colour_of_grey_and_rgb_is_white() -> None:
    grey = encoded("PNG", Image.new("L", (2, 2), 9), transparency=9)
    colour = encoded("PNG", Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))
    for data in (grey, colour):
        assert decode(data, LIMITS).pixels.min() == 255


def test_a_cmyk_jpeg_has_the_colours_it_shows() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded("JPEG", red, quality=95)
    for pixels in (decode(data, LIMITS).pixels, sanitise(data, LIMITS).pixels):
        assert pixels[8, 8, 0] > 240
        assert pixels[8, 8, 1:].max() < 15


def test_nothing_at_all_is_refused_as_empty() -> None:
    assert refusal(b"") == "empty"


@pytest.mark.parametrize("data", [b"hello", b"BMW and other cars", b"\0" * 100, b"RIFF1234WAVE"])
def test_what_is_no_image_is_refused_as_such(data: bytes) -> None:
    assert refusal(data) == "not_an_image"


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_plain_jpeg_takes_the_short_way_to_the_pixels_of_the_long_one(
    mode: str, options: dict[str, Any], subsampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(noise(61, 43)).convert(mode)
    data = encoded("JPEG", image, subsampling=subsampling, **options)
    short = image_codec._plain_jpeg(data, LIMITS)
    assert short is not None
    monkeypatch.setattr(image_codec, "_plain_jpeg", lambda data, limits: None)
    assert np.array_equal(decode(data, LIMITS).pixels, short)


def test_a_changed_jpeg_has_the_same_pixels_on_the_short_way_or_goes_the_long_one() -> None:
    original = encoded("JPEG", Image.fromarray(noise(40, 30)))
    rng = np.random.default_rng(5)
    both = 0
    for _ in range(300):
        changed = bytearray(original)
        for at in rng.integers(2, len(changed), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        short = image_codec._plain_jpeg(bytes(changed), LIMITS)
        if short is None:
            continue
        both += 1
        with image_codec._opened(bytes(changed), LIMITS) as (image, _, orientation):
            assert np.array_equal(short, image_codec.rgb_pixels(image, orientation))
    assert both > 20


@pytest.mark.parametrize("what", ["turned", "CMYK", "truncated", "too large"])
def test_a_jpeg_that_is_not_plain_goes_the_long_way(what: str) -> None:
    image = Image.fromarray(noise(40, 30))
    data, limits = encoded("JPEG", image), LIMITS
    if what == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded("JPEG", image, exif=exif)
    elif what == "CMYK":
        data = encoded("JPEG", image.convert("CMYK"))
    elif what == "truncated":
        data = data[: len(data) // 2]
    else:
        limits = Limits(10**6, 40 * 30 - 1)
    assert image_codec._plain_jpeg(data, limits) is None


@pytest.mark.parametrize(
    "data",
    [
        encoded("GIF"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\n <?xml version='1.0'?><svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"%PDF-1.7",
        b"\0\0\0\x1cftypavif",
    ],
    ids=["gif", "svg", "xml", "eps", "pdf", "avif"],
)
def test_types_outside_the_allow_list_are_refused_by_name(data: bytes) -> None:
    assert refusal(data) == "unsupported_type"


@pytest.mark.parametrize("format", SUPPORTED)
def test_a_truncated_image_is_refused_with_a_hint(format: str) -> None:
    data = encoded(format)
    for end in (20, len(data) // 2, len(data) * 3 // 4):
        assert refusal(data[:end]) == "truncated"


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    assert refusal(b"x" * 101, Limits(100, 100)) == "too_many_bytes"


@pytest.mark.parametrize(
    "data",
    [png_of_size(60_000, 60_000), webp_of_canvas(16_383, 16_383)],
    ids=["png", "webp"],
)
def test_a_decompression_bomb_is_refused_from_its_header(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(data) == "too_many_pixels"
        with pytest.raises(TooLarge):
            decode(data, LIMITS)


def test_the_pixel_limit_is_itself_allowed() -> None:
    assert decode(encoded("PNG"), Limits(100_000, 24 * 16)).width == 24
    assert refusal(encoded("PNG"), Limits(100_000, 24 * 16 - 1)) == "too_many_pixels"


def test_large_images_within_our_limit_decode_without_pillows_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encoded("PNG"), LIMITS).width == 24


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() -> None:
    data = encoded("JPEG", progressive=True)
    last_scan = data[data.rfind(b"\xff\xda") : -2]
    assert refusal(data[:-2] + last_scan * 1000 + b"\xff\xd9") == "unsupported_type"


@pytest.mark.parametrize("format", SUPPORTED)
def test_what_follows_the_end_does_not_survive_sanitising(format: str) -> None:
    secret = b"<script>alert(1)</script>PK\x03\x04"
    data = encoded(format) + secret
    clean = sanitise(data, LIMITS)
    assert b"<script>" not in clean.data
    assert clean.data == sanitise(encoded(format), LIMITS).data


def test_metadata_does_not_survive_sanitising() -> None:
    exif = Image.Exif()
    exif[0x010E] = "PATIENT-NAME"
    text = PngInfo()
    text.add_text("Comment", "PATIENT-NAME")
    for data in (
        encoded("JPEG", exif=exif, comment="PATIENT-NAME", xmp=b"<x>PATIENT-NAME</x>"),
        encoded("JPEG", icc_profile=b"PATIENT-NAME" * 30),
        encoded("PNG", exif=exif, pnginfo=text, icc_profile=b"PATIENT-NAME" * 30),
        encoded("WEBP", exif=exif, xmp=b"<x>PATIENT-NAME</x>"),
    ):
        clean = sanitise(data, LIMITS)
        again = Image.open(io.BytesIO(clean.data))
        assert b"PATIENT" not in clean.data
        assert not again.getexif()
        assert not {"comment", "exif", "xmp", "icc_profile", "Comment"} & set(again.info)


def test_a_jpeg_keeps_its_quantisation_tables_and_sampling() -> None:
    for subsampling in (0, 1, 2):
        data = encoded("JPEG", quality=61, subsampling=subsampling)
        before = Image.open(io.BytesIO(data))
        after = Image.open(io.BytesIO(sanitise(data, LIMITS).data))
        assert after.quantization == before.quantization
        assert after.layer == before.layer


def test_a_grey_jpeg_stays_grey() -> None:
    data = encoded("JPEG", Image.fromarray(smooth()[:, :, 0]))
    clean = sanitise(data, LIMITS)
    assert Image.open(io.BytesIO(clean.data)).mode == "L"
    assert clean.pixels.shape == (16, 24, 3)


@pytest.mark.parametrize("format", SUPPORTED)
def test_sanitising_gives_the_same_bytes_each_time_and_the_pixels_of_them(format: str) -> None:
    first, second = sanitise(encoded(format), LIMITS), sanitise(encoded(format), LIMITS)
    assert first.data == second.data
    again = decode(first.data, LIMITS)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (first.width, first.height) == (again.width, again.height)
    assert first.media_type == again.media_type


def test_a_sanitised_png_is_its_own_sanitised_form() -> None:
    clean = sanitise(encoded("WEBP"), LIMITS)
    assert sanitise(clean.data, LIMITS).data == clean.data


def test_a_phone_jpeg_with_a_second_picture_behind_the_first_is_a_jpeg() -> None:
    second = Image.new("RGB", (24, 16))
    data = encoded("MPO", save_all=True, append_images=[second])
    clean = sanitise(data, LIMITS)
    assert clean.media_type == "image/jpeg"
    assert np.abs(clean.pixels.astype(int) - smooth()).mean() < 10
    assert clean.data.count(b"\xff\xd8\xff") == 1


def test_our_own_encoders_give_what_decodes_again() -> None:
    np.testing.assert_array_equal(decode(encode_png(smooth()), LIMITS).pixels, smooth())
    soft = decode(encode_jpeg(smooth(), quality=95), LIMITS).pixels
    assert np.abs(soft.astype(int) - smooth()).mean() < 3


def test_decoding_in_many_threads_gives_the_same_as_in_one() -> None:
    files = [encoded(format) for format in SUPPORTED] * 8
    alone = [sanitise(data, LIMITS).data for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = [clean.data for clean in pool.map(lambda data: sanitise(data, LIMITS), files)]
    assert together == alone


MUTABLE = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "cmyk": encoded("JPEG", Image.new("CMYK", (9, 9), (1, 2, 3, 4))),
    "png": encoded("PNG"),
    "palette": encoded("PNG", Image.fromarray(smooth()).quantize(9), transparency=3),
    "grey16": encoded("PNG", Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999)),
    "exif": encoded("PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
    "webp": encoded("WEBP"),
    "lossless": encoded("WEBP", lossless=True),
    "animated": webp_of_canvas(40, 30),
    "bmp": encoded("BMP"),
    "bmp8": encoded("BMP", Image.fromarray(smooth()).quantize(9)),
    "tiff": encoded("TIFF"),
    "lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiffjpeg": encoded("TIFF", compression="jpeg"),
    "gif": encoded("GIF"),
}
Edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(sorted(MUTABLE)), Edits, st.none() | st.floats(0, 1), st.binary(max_size=8))
@example("png", [(0.0, 0x89)], None, b"")
def test_changed_bytes_give_an_image_or_a_loop_error(
    name: str, edits: list[tuple[float, int]], cut: float | None, tail: bytes
) -> None:
    data = bytearray(MUTABLE[name])
    for place, value in edits:
        data[int(place * len(data))] = value
    hostile = bytes(data[: int(cut * len(data))] if cut is not None else data) + tail
    for read in (decode, sanitise):
        try:
            image = read(hostile, LIMITS)
        except LoopError as error:
            assert isinstance(error, InvalidImage | TooLarge)
            assert error.hint
        else:
            assert image.pixels.shape == (image.height, image.width, 3)
            assert image.width * image.height <= LIMITS.max_pixels


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_an_image_or_a_loop_error(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(LoopError):
            decode(start + data, LIMITS)


def test_the_hash_is_that_of_the_pixels_that_are_kept() -> None:
    rows, columns = np.mgrid[0:80, 0:120]
    shape = np.hypot(rows - 30, columns - 40) < 20
    pixels = np.where(shape[..., None], [180, 40, 90], [230, 220, 215]).astype(np.uint8)
    clean = sanitise(encode_jpeg(pixels, 80), LIMITS)
    assert clean.phash == perceptual_hash(clean.pixels) == hash_of(clean.data) != NO_HASH


def test_bytes_that_are_no_image_have_no_hash() -> None:
    assert hash_of(b"nothing to see") == hash_of(b"") == NO_HASH

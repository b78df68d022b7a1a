"""Image bytes from anywhere to RGB pixels, and to bytes that are safe to keep.

Input is taken as hostile. The type is told from the first bytes, from an allow-list; a decoder
sees only the parts that make pixels (`store.image_containers`); the size comes from the header
before any pixel is decoded; whatever goes wrong inside a decoder leaves here as `InvalidImage`.
`sanitise` encodes the pixels anew, so that metadata, and whatever hides behind the image's end,
does not survive.

Pixels are what a viewer shows: turned as EXIF says, transparency over white, 16 bits scaled to 8.
Colour profiles are dropped without being applied; of several pictures in a file the first counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simplejpeg  # type: ignore[import-untyped]
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from loop.errors import InvalidImage, InvalidInput, LoopError, TooLarge
from loop.perceptual_hash import NO_HASH, perceptual_hash
from store.image_containers import Stripped, check_bmp, strip_jpeg, strip_png, strip_webp
from store.image_pixels import TURNS, Pixels, fit_transparent_colour, rgb_pixels
from store.tiff_directory import reduce_tiff

# Every type tells itself in fewer, DICOM after 128.
_HEADER_BYTES = 256

_ANY_NUMBER = 2**63

_JPEG = "image/jpeg"
_PNG = "image/png"
_TIFF = "image/tiff"
_WEBP = "image/webp"
_HINT = "Send a JPEG, PNG, TIFF, BMP or WebP image."
_JPEG_START = b"\xff\xd8\xff"
# As libjpeg-turbo names what is in the file.
_PLAIN_COLOURS = ("YCbCr", "Gray", "RGB")
# For a JPEG that cannot keep its own tables: no loss that a person could see.
_JPEG_QUALITY = 95
# A progressive JPEG draws the whole image once a scan, and a scan may be 42 bytes small: without
# a limit, a few megabytes keep a processor busy for hours. Encoders write about ten; all scans
# together may draw what twenty do in an image of the greatest size.
_MAX_JPEG_SCANS = 100
_MAX_LARGE_JPEG_SCANS = 20
# Where the header of a PNG says how many bits a sample has.
_PNG_BITS_AT = 24
# Known by their first bytes only to say so. SVG, EPS and PDF are programs.
_UNSUPPORTED = (
    (b"GIF8", "GIF"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML or SVG"),
    (b"\0\0\1\0", "icon"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xffO\xffQ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\n", "JPEG XL"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_bytes`` of the file as sent; ``max_pixels`` is width times height."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """``pixels`` is (height, width, 3) RGB, upright; ``media_type`` is that of the bytes."""

    pixels: Pixels
    width: int
    height: int
    media_type: str


@dataclass(frozen=True, slots=True)
class SanitisedImage:
    """``data`` is a JPEG or PNG with nothing in it but pixels; ``pixels`` are those of ``data``,
    and ``phash`` their `loop.perceptual_hash`."""

    data: bytes
    media_type: str
    width: int
    height: int
    pixels: Pixels
    phash: str


def decode(data: bytes, limits: Limits) -> DecodedImage:
    """RGB pixels of a JPEG, PNG, TIFF, BMP or WebP image.

    Raises `TooLarge` (codes ``too_many_bytes``, ``too_many_pixels``) or `InvalidImage` (codes
    ``empty``, ``not_an_image``, ``unsupported_type``, ``truncated``), and nothing else.
    """
    pixels = _plain_jpeg(data, limits)
    if pixels is not None:
        return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], _JPEG)
    with _opened(data, limits) as (image, media_type, orientation):
        pixels = rgb_pixels(image, orientation)
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], media_type)


def sanitise(data: bytes, limits: Limits) -> SanitisedImage:
    """The image encoded anew without metadata: the same bytes in give the same bytes out.

    A JPEG that lies upright keeps its quantisation tables and its sampling, so that next to
    nothing is lost; another JPEG becomes one of quality 95 without colour sub-sampling, and
    everything else a PNG. Raises as `decode` does.
    """
    with _opened(data, limits) as (image, media_type, orientation):
        if media_type == _JPEG:
            clean = _like_itself(image, orientation)
            clean = clean or encode_jpeg(rgb_pixels(image, orientation), _JPEG_QUALITY)
            pixels = decode(clean, Limits(len(clean), limits.max_pixels)).pixels
        else:
            media_type = _PNG
            pixels = rgb_pixels(image, orientation)
            clean = encode_png(pixels)
    height, width = pixels.shape[:2]
    return SanitisedImage(clean, media_type, width, height, pixels, perceptual_hash(pixels))


def hash_of(data: bytes) -> str:
    """The perceptual hash of bytes that were taken in once; `NO_HASH` if they are no image."""
    try:
        return perceptual_hash(decode(data, Limits(len(data), _ANY_NUMBER)).pixels)
    except InvalidInput:
        return NO_HASH


def read_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header alone and as they stand there: EXIF may turn
    the image. Raises `InvalidImage`."""
    try:
        with path.open("rb") as file:
            plugin, _ = _type_of(file.read(_HEADER_BYTES))
            file.seek(0)
            with plugin(file) as image:
                return image.size
    except LoopError:
        raise
    except Exception as error:  # see _opened
        raise InvalidImage(
            f"The image is damaged: {str(error) or type(error).__name__}.", code="truncated"
        ) from error


def encode_png(pixels: Pixels) -> bytes:
    """``pixels``: (height, width, 3) RGB; lossless."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()


def encode_jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """``pixels``: (height, width, 3) RGB; ``quality`` is libjpeg's, 1 to 95."""
    return _jpeg(Image.fromarray(pixels), quality)


def _plain_jpeg(data: bytes, limits: Limits) -> Pixels | None:
    """Pixels of an upright JPEG in colour or grey with nothing wrong with it, by libjpeg-turbo
    itself, in a quarter of the time that Pillow takes to the same pixels; None for any other."""
    if not data.startswith(_JPEG_START) or len(data) > limits.max_bytes:
        return None
    try:
        stripped = strip_jpeg(data)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(stripped.data)
        _check_size((width, height), limits)
        _check_scans(stripped.data, (width, height), limits)
        if stripped.orientation in TURNS or colours not in _PLAIN_COLOURS:
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(
            stripped.data, "RGB", fastdct=False, fastupsample=False
        )
    except Exception:  # the other way says what is wrong, or that it can be read all the same
        return None
    return pixels


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[tuple[ImageFile, str, int]]:
    """The image, its size within the limits, with all of its pixels read, its type, and the EXIF
    orientation that is yet to be undone."""
    if not data:
        raise InvalidImage("The file is empty.", hint=_HINT, code="empty")
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"The file has {len(data)} bytes; at most {limits.max_bytes} are taken.",
            hint="Send a smaller file, or raise SECONDLOOK_MAX_IMAGE_BYTES.",
            code="too_many_bytes",
        )
    plugin, media_type = _type_of(data)
    try:
        stripped = _stripped(data, media_type, limits)
        # The plugin itself rather than Image.open: that looks at process-wide settings, warns of
        # large images, which cannot be muted for one thread, and takes a phone's JPEG with a
        # second picture behind the first for another type (MPO). The limit is checked right here.
        with plugin(io.BytesIO(stripped.data)) as image:
            _check_size(image.size, limits)
            if media_type == _JPEG:
                _check_scans(stripped.data, image.size, limits)
            if media_type == _PNG:
                fit_transparent_colour(image, stripped.data[_PNG_BITS_AT])
            image.load()
            yield image, media_type, stripped.orientation
    except LoopError:
        raise
    except MemoryError as error:
        raise TooLarge(
            "The image needs more memory than there is.",
            hint="Send a smaller image or a part of it.",
            code="too_many_pixels",
        ) from error
    # Pillow lets through whatever its parsers and codecs raise: SyntaxError, struct.error,
    # OSError, ValueError, EOFError, ZeroDivisionError and more.
    except Exception as error:
        raise InvalidImage(
            f"The image is truncated or damaged: {str(error) or type(error).__name__}.",
            hint="Open it in a viewer, save it again, and send that.",
            code="truncated",
        ) from error


def _type_of(data: bytes) -> tuple[type[ImageFile], str]:
    if data.startswith(_JPEG_START):
        return JpegImageFile, _JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile, _PNG
    if data.startswith((b"II*\0", b"MM\0*")):
        return TiffImageFile, _TIFF
    if data.startswith(b"BM") and data[15:18] == b"\0\0\0":  # a header's size: no text has these
        return BmpImageFile, "image/bmp"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile, _WEBP
    start = data[:64].lstrip()
    name = next((name for magic, name in _UNSUPPORTED if start.startswith(magic)), "")
    if data[4:8] == b"ftyp":
        name = "HEIF, AVIF or video"
    if data[128:132] == b"DICM":
        name = "DICOM"
    if name:
        raise InvalidImage(f"{name} files are not taken.", hint=_HINT, code="unsupported_type")
    raise InvalidImage("This is not an image.", hint=_HINT, code="not_an_image")


def _stripped(data: bytes, media_type: str, limits: Limits) -> Stripped:
    if media_type == _JPEG:
        return strip_jpeg(data)
    if media_type == _PNG:
        return strip_png(data)
    if media_type == _WEBP:
        stripped = strip_webp(data)
        _check_size(stripped.size, limits)  # the decoder's first act is to set the canvas aside
        return stripped
    if media_type == _TIFF:
        directory = reduce_tiff(data, limits.max_pixels)
        _check_size((directory.width, directory.height), limits)
        return Stripped(directory.data)  # Pillow turns it
    return check_bmp(data)


def _check_scans(data: bytes, size: tuple[int, int], limits: Limits) -> None:
    scans = data.count(b"\xff\xda")
    drawn = scans * size[0] * size[1]
    if scans > _MAX_JPEG_SCANS or drawn > _MAX_LARGE_JPEG_SCANS * limits.max_pixels:
        raise InvalidImage(
            f"The JPEG is drawn in {scans} scans; that is more than are taken for its size.",
            hint="Save it again as a baseline JPEG.",
            code="unsupported_type",
        )


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"it has {width}x{height} pixels")
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"The image has {width}x{height} pixels; at most {limits.max_pixels} are taken.",
            hint="Send a smaller image or a part of it, or raise SECONDLOOK_MAX_IMAGE_PIXELS.",
            code="too_many_pixels",
        )


def _like_itself(image: ImageFile, orientation: int) -> bytes | None:
    """Encoded with its own tables and sampling; None if it is turned or they cannot be kept."""
    if image.mode not in ("L", "RGB") or orientation in TURNS:
        return None
    image.info.clear()  # the comment would be written again
    try:
        return _jpeg(image, "keep")
    except (ValueError, TypeError, OSError, OverflowError):
        return None  # tables that libjpeg reads but does not write


def _jpeg(image: Image.Image, quality: int | str) -> bytes:
    file = io.BytesIO()
    options: dict[str, Any] = {} if quality == "keep" else {"subsampling": "4:4:4"}
    image.save(file, "JPEG", quality=quality, **options)
    return file.getvalue()

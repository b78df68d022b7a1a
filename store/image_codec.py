"""Image bytes from anywhere to RGB pixels, and to bytes that are safe to keep.

Input is taken as hostile. The type is told from the first bytes, from an allow-list; the size
comes from the header before any pixel is decoded; whatever goes wrong inside a decoder leaves
here as `InvalidImage`. `sanitise` encodes the pixels anew, so that metadata, and whatever hides
behind the image's end, does not survive.

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

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from loop.errors import InvalidImage, InvalidInput, LoopError, TooLarge
from loop.perceptual_hash import NO_HASH, perceptual_hash

Pixels = NDArray[np.uint8]

# Every type tells itself in fewer, DICOM after 128.
_HEADER_BYTES = 256

_ANY_NUMBER = 2**63

_JPEG = "image/jpeg"
_PNG = "image/png"
_HINT = "Send a JPEG, PNG, TIFF, BMP or WebP image."
# For a JPEG that cannot keep its own tables: no loss that a person could see.
_JPEG_QUALITY = 95
# A progressive JPEG draws the whole image once a scan, and a scan may be 42 bytes small: without
# a limit, a few megabytes keep a processor busy for hours. Encoders write about ten.
_MAX_JPEG_SCANS = 100
_ORIENTATION_TAG = 0x0112
# EXIF 2.32, 4.6.4 A: what undoes each orientation; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
    with _opened(data, limits) as (image, media_type):
        pixels = _array(_as_rgb(_upright(image)))
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], media_type)


def sanitise(data: bytes, limits: Limits) -> SanitisedImage:
    """The image encoded anew without metadata: the same bytes in give the same bytes out.

    A JPEG that lies upright keeps its quantisation tables and its sampling, so that next to
    nothing is lost; another JPEG becomes one of quality 95 without colour sub-sampling, and
    everything else a PNG. Raises as `decode` does.
    """
    with _opened(data, limits) as (image, media_type):
        if media_type == _JPEG:
            clean = _like_itself(image) or _jpeg(_as_rgb(_upright(image)), _JPEG_QUALITY)
            pixels = decode(clean, Limits(len(clean), limits.max_pixels)).pixels
        else:
            media_type = _PNG
            pixels = _array(_as_rgb(_upright(image)))
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


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[tuple[ImageFile, str]]:
    """The image, its size within the limits, with all of its pixels read."""
    if not data:
        raise InvalidImage("The file is empty.", hint=_HINT, code="empty")
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"The file has {len(data)} bytes; at most {limits.max_bytes} are taken.",
            hint="Send a smaller file, or raise SECONDLOOK_MAX_IMAGE_BYTES.",
            code="too_many_bytes",
        )
    plugin, media_type = _type_of(data)
    if media_type == _JPEG:
        _check_scans(data)
    try:
        # The plugin itself rather than Image.open: that looks at process-wide settings, warns of
        # large images, which cannot be muted for one thread, and takes a phone's JPEG with a
        # second picture behind the first for another type (MPO). The limit is checked right here.
        with plugin(io.BytesIO(data)) as image:
            _check_size(image, limits)
            image.load()
            yield image, media_type
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
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile, _JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile, _PNG
    if data.startswith((b"II*\0", b"MM\0*")):
        return TiffImageFile, "image/tiff"
    if data.startswith(b"BM") and data[15:18] == b"\0\0\0":  # a header's size: no text has these
        return BmpImageFile, "image/bmp"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile, "image/webp"
    start = data[:64].lstrip()
    name = next((name for magic, name in _UNSUPPORTED if start.startswith(magic)), "")
    if data[4:8] == b"ftyp":
        name = "HEIF, AVIF or video"
    if data[128:132] == b"DICM":
        name = "DICOM"
    if name:
        raise InvalidImage(f"{name} files are not taken.", hint=_HINT, code="unsupported_type")
    raise InvalidImage("This is not an image.", hint=_HINT, code="not_an_image")


def _check_scans(data: bytes) -> None:
    scans = data.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise InvalidImage(
            f"The JPEG is drawn in {scans} scans; at most {_MAX_JPEG_SCANS} are taken.",
            hint="Save it again as a baseline JPEG.",
            code="unsupported_type",
        )


def _check_size(image: ImageFile, limits: Limits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ValueError(f"it has {width}x{height} pixels")
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"The image has {width}x{height} pixels; at most {limits.max_pixels} are taken.",
            hint="Send a smaller image or a part of it, or raise SECONDLOOK_MAX_IMAGE_PIXELS.",
            code="too_many_pixels",
        )


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF counts them; 1 (upright) where the metadata cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block does not make the pixels worse
        return 1
    return orientation if isinstance(orientation, int) else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # black is 0 and white 65535, whatever is used of it
        return Image.fromarray(_to_8_bits(np.asarray(image, np.float64), 65535.0)).convert("RGB")
    if image.mode in ("I", "F"):  # TIFF only, and it does not say what white is
        values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        top = float(values.max())
        white = 65535.0 if top > 255 else 255.0 if top > 1 else 1.0
        return Image.fromarray(_to_8_bits(values, white)).convert("RGB")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        below = Image.new("RGBA", above.size, (255, 255, 255, 255))
        return Image.alpha_composite(below, above).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: NDArray[np.float64], white: float) -> Pixels:
    return np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8)


def _like_itself(image: ImageFile) -> bytes | None:
    """Encoded with its own tables and sampling; None if it is turned or they cannot be kept."""
    if image.mode not in ("L", "RGB") or _orientation(image) in _UPRIGHT:
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


def _array(image: Image.Image) -> Pixels:
    return np.array(image, dtype=np.uint8)  # a copy: Pillow's own memory is read-only

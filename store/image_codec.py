"""Decoding images that anybody may have sent, and encoding them again without their metadata."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from loop.errors import InvalidImage, LoopError, TooLarge

# What cameras, microscopes' exports and browsers make. No SVG, EPS or PDF: they are programs.
_FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
}
_ACCEPTED = "JPEG, PNG, TIFF, BMP or WebP"
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
# Visually lossless; only for a JPEG that had to be turned and so cannot keep its own tables.
_JPEG_QUALITY = 95
# What an image file begins with, of kinds that we recognise only to say so.
_OTHER_KINDS = {
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"<svg": "SVG",
    b"<?xm": "XML or SVG",
    b"\x00\x00\x01\x00": "ICO",
    b"DICM": "DICOM",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_bytes`` of the file as sent; ``max_pixels`` is width times height."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """``pixels`` is (height, width, 3) RGB, upright, as a viewer would show it."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    media_type: str


@dataclass(frozen=True, slots=True)
class SanitisedImage:
    """``data`` is a JPEG or PNG with nothing in it but pixels; ``pixels`` are those of ``data``."""

    data: bytes
    media_type: str
    width: int
    height: int
    pixels: NDArray[np.uint8]


def decode(data: bytes, limits: Limits) -> DecodedImage:
    """Raises `InvalidImage` or `TooLarge`, with a code for what is wrong, and nothing else."""
    image, media_type = _open(data, limits)
    return _decoded(image, media_type)


def sanitise(data: bytes, limits: Limits) -> SanitisedImage:
    """Encode the image again without metadata or anything that stood beside its pixels.

    A JPEG stays one, with its own quantisation tables where it was upright (so that almost
    nothing changes); everything else becomes a PNG. The same bytes give the same result. Raises
    as `decode` does.
    """
    image, media_type = _open(data, limits)
    if media_type == "image/jpeg":
        clean = _clean_jpeg(image)
    else:
        media_type = "image/png"
        clean = encode_png(_decoded(image, media_type).pixels)
    again = decode(clean, Limits(max(len(clean), limits.max_bytes), limits.max_pixels))
    return SanitisedImage(clean, media_type, again.width, again.height, again.pixels)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """``pixels``: (height, width, 3) RGB."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 92) -> bytes:
    """``pixels``: (height, width, 3) RGB."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _open(data: bytes, limits: Limits) -> tuple[Image.Image, str]:
    """The image with all of its pixels read, not yet turned or converted."""
    if not data:
        raise InvalidImage("The file is empty.", hint=f"Send a {_ACCEPTED}.", code="empty")
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"The file has {len(data)} bytes; at most {limits.max_bytes} are taken.",
            hint="Send a smaller file, or raise SECONDLOOK_MAX_IMAGE_BYTES.",
            code="too_many_bytes",
        )
    try:
        with warnings.catch_warnings():
            # Pillow's own limit only warns, and ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except UnidentifiedImageError as error:
        raise _not_an_image(data) from error
    except Exception as error:  # a parser of hostile bytes may raise anything
        raise _broken(error) from error
    if image.width * image.height > limits.max_pixels:
        raise _too_many_pixels(limits, image.width, image.height)
    if image.width < 1 or image.height < 1:
        raise InvalidImage("The image has no pixels.", code="not_an_image")
    media_type = _FORMATS[str(image.format)]
    try:
        image.load()
    except Exception as error:
        raise _broken(error) from error
    return image, media_type


def _decoded(image: Image.Image, media_type: str) -> DecodedImage:
    try:
        upright = _rgb(ImageOps.exif_transpose(image))
        pixels = np.asarray(upright, dtype=np.uint8)
    except LoopError:
        raise
    except Exception as error:
        raise _broken(error) from error
    return DecodedImage(pixels, upright.width, upright.height, media_type)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as a viewer shows it: 16 bits scaled to 8, transparency on white, CMYK converted."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return Image.fromarray(_to_8_bits(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max())
    # 16-bit greyscale is 0 to 65535 whatever is used of it; floats come in their own range.
    scale = 65535.0 if top > 255 else (255.0 if top > 1 else 1.0)
    return np.clip(np.rint(values / scale * 255), 0, 255).astype(np.uint8)


def _clean_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    upright = _orientation(image) in (None, 1)
    options: dict[str, Any] = {"exif": b"", "icc_profile": None, "comment": b""}
    try:
        if upright and image.mode in ("RGB", "L") and getattr(image, "quantization", None):
            # "keep" takes tables and subsampling from the file itself.
            image.save(buffer, "JPEG", quality="keep", subsampling="keep", **options)
        else:
            turned = _rgb(ImageOps.exif_transpose(image))
            turned.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, **options)
    except LoopError:
        raise
    except Exception as error:
        raise _broken(error) from error
    return buffer.getvalue()


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION)
    except (ValueError, TypeError, SyntaxError, KeyError, struct.error, zlib.error):
        return None
    return value if isinstance(value, int) else None


def _not_an_image(data: bytes) -> InvalidImage:
    start = data.lstrip()[:4].lower()
    for magic, kind in _OTHER_KINDS.items():
        if start == magic.lower() or (kind == "DICOM" and data[128:132] == magic):
            return InvalidImage(
                f"{kind} files are not accepted.",
                hint=f"Send a {_ACCEPTED}.",
                code="unsupported_type",
            )
    return InvalidImage("This is not an image.", hint=f"Send a {_ACCEPTED}.", code="not_an_image")


def _too_many_pixels(limits: Limits, width: int = 0, height: int = 0) -> TooLarge:
    size = f"{width}x{height} pixels" if width else "too many pixels"
    return TooLarge(
        f"The image has {size}; at most {limits.max_pixels} are taken.",
        hint="Send a smaller image or a part of it, or raise SECONDLOOK_MAX_IMAGE_PIXELS.",
        code="too_many_pixels",
    )


def _broken(error: Exception) -> LoopError:
    if isinstance(error, MemoryError):
        return TooLarge("The image needs more memory than there is.", code="too_many_pixels")
    return InvalidImage(
        "The image is truncated or damaged.",
        hint="Open it in a viewer, save it again, and send that.",
        code="truncated",
    )

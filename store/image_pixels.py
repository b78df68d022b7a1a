"""Pixels of every kind that Pillow decodes, as 8-bit RGB: what a viewer shows.

In bands of rows, so that a large image is not held in every kind on its way, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

Pixels = NDArray[np.uint8]

# EXIF 2.32, 4.6.4 A: what undoes each orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND_PIXELS = 2**20
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def rgb_pixels(image: Image.Image, orientation: int) -> Pixels:
    """(height, width, 3) of a loaded image: turned as EXIF's ``orientation`` says, transparency
    over white, more than 8 bits scaled to them."""
    convert = _converter(image)
    turn = TURNS.get(orientation)
    if turn is not None:
        image = image.transpose(turn)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, band in _bands(image):
        pixels[top : top + band.height] = convert(band)
    return pixels


def fit_transparent_colour(image: ImageFile, bits: int) -> None:
    """A PNG's transparent colour as the decoded pixels count: Pillow leaves it in the file's
    ``bits`` a sample, and scales the pixels."""
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int):
        most = 2 ** min(bits, 8) - 1
        image.info["transparency"] = (colour & most) * 255 // most
    elif image.mode == "RGB" and isinstance(colour, tuple):
        image.info["transparency"] = tuple(
            value >> 8 if bits == 16 else value & 255 for value in colour
        )


def _converter(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """From a band of ``image`` to RGB, or to grey as (rows, width, 1)."""
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        white = 4095 if tags.get(_BITS_PER_SAMPLE) in (12, (12,)) else 65535
        shown = np.minimum(np.rint(np.arange(65536) * (255 / white)), 255).astype(np.uint8)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8 bits only
            shown = 255 - shown
        transparent = image.info.get("transparency")
        if isinstance(transparent, int) and 0 <= transparent <= 65535:
            shown[transparent] = 255
        return partial(_looked_up, shown)
    if image.mode in ("I", "F"):  # TIFF only, and it does not say what white is
        top = max(_values(band).max() for _, band in _bands(image))
        return partial(_scaled, 65535.0 if top > 255 else 255.0 if top > 1 else 1.0)
    return _over_white if image.has_transparency_data else _as_rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row of each band, and the band."""
    width, height = image.size
    rows = max(_BAND_PIXELS // width, 1)
    for top in range(0, height, rows):
        whole = rows >= height
        yield top, image if whole else image.crop((0, top, width, min(top + rows, height)))


def _looked_up(shown: Pixels, band: Image.Image) -> Pixels:
    return shown[np.asarray(band, np.uint16)][:, :, None]


def _values(band: Image.Image) -> NDArray[np.float64]:
    values = np.asarray(band, np.float64)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _scaled(white: float, band: Image.Image) -> Pixels:
    scaled = np.clip(np.rint(_values(band) * (255 / white)), 0, 255)
    return scaled.astype(np.uint8)[:, :, None]


def _over_white(band: Image.Image) -> Pixels:
    above = band.convert("RGBA")
    below = Image.new("RGBA", above.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(below, above).convert("RGB"))


def _as_rgb(band: Image.Image) -> Pixels:
    return np.asarray(band if band.mode == "RGB" else band.convert("RGB"))

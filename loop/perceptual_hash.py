"""A 64-bit hash of what an image looks like, close for images that look the same.

It is pHash (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
section 3.1.1): the signs, against their median, of the 8 x 8 lowest frequencies of a 32 x 32 grey
thumbnail, without the constant ones. Encoding an image again, resizing it or changing its
brightness changes few of the bits; turning, mirroring or cropping it changes many of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BITS = 64
# In the place of a hash: the image has no structure, or its bytes are no image.
NO_HASH = ""

_THUMBNAIL_PX = 32
_SIDE = 8
# ITU-R BT.601, as in JPEG.
_LUMA = np.array([0.299, 0.587, 0.114])
# Grey values (of 255), root mean square of what the 64 frequencies make up. Blank fields have less
# than 2: there it is the lens's shading and the dust on it that would be hashed, and all fields of
# one microscope would be alike. Fields with cells have more (docs/decisions.md).
_LEAST_STRUCTURE = 2.0
_HASH = re.compile(r"[0-9a-f]{16}")


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """The hash in 16 hex digits, or `NO_HASH` for an image with next to no structure.

    ``pixels`` is (height, width, 3) RGB or (height, width) grey.
    """
    from scipy.fft import dctn  # slow to import, and only this needs it

    low = dctn(_thumbnail(pixels), norm="ortho")[1 : _SIDE + 1, 1 : _SIDE + 1]
    if np.linalg.norm(low) / _THUMBNAIL_PX < _LEAST_STRUCTURE:
        return NO_HASH
    return np.packbits(low > np.median(low)).tobytes().hex()


def is_hash(text: str) -> bool:
    return text == NO_HASH or _HASH.fullmatch(text) is not None


def bits_apart(left: str, right: str) -> int:
    """How many of the 64 bits differ: all of them where either is `NO_HASH`."""
    if NO_HASH in (left, right):
        return BITS
    return (int(left, 16) ^ int(right, 16)).bit_count()


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(32, 32) grey values, each the mean over its share of the image, whatever its size."""
    height, width = pixels.shape[:2]
    rows = np.empty((_THUMBNAIL_PX, width, *pixels.shape[2:]))
    for row, (start, weights) in enumerate(_shares(height)):
        # A strip at a time: a whole image as floating-point numbers has eight times its bytes.
        rows[row] = np.tensordot(weights, pixels[start : start + len(weights)], axes=1)
    grey = rows @ _LUMA if pixels.ndim == 3 else rows
    columns = [grey[:, start : start + len(weights)] @ weights for start, weights in _shares(width)]
    return np.stack(columns, axis=1)


def _shares(size: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Of each of 32 equal parts of ``size`` pixels: its first pixel, and the weights of that one
    and the next ones, which sum to 1."""
    edges = np.linspace(0, size, _THUMBNAIL_PX + 1)
    for low, high in pairwise(edges):
        start, end = int(low), min(int(np.ceil(high)), size)
        pixel = np.arange(start, end)
        weights = np.minimum(pixel + 1, high) - np.maximum(pixel, low)
        yield start, weights / weights.sum()

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from loop.perceptual_hash import NO_HASH, bits_apart, is_hash, perceptual_hash
from loop.synthetic import generate

Pixels = NDArray[np.uint8]
FIELD = next(image.pixels for image in generate(1, seed=4, size=256))


def by_definition(pixels: Pixels) -> str:
    """Zauner's steps one by one, on an image of which each thumbnail's pixel has 8 x 8 pixels."""
    grey = pixels.astype(float) @ [0.299, 0.587, 0.114]
    small = grey.reshape(32, 8, 32, 8).mean(axis=(1, 3))
    place = np.arange(32)
    cosines = np.cos(np.pi * (2 * place + 1) * place[:, None] / 64)
    low = (cosines @ small @ cosines.T)[1:9, 1:9].ravel()
    bits = "".join("1" if value > np.median(low) else "0" for value in low)
    return f"{int(bits, 2):016x}"


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def recoded(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def test_it_is_the_hash_of_its_definition() -> None:
    for image in generate(12, seed=8, size=256):
        assert perceptual_hash(image.pixels) in (by_definition(image.pixels), NO_HASH)
    assert perceptual_hash(FIELD) == by_definition(FIELD)


@pytest.mark.parametrize(
    "copy",
    [
        recoded(FIELD, 40),
        resized(FIELD, 128, 128),
        resized(FIELD, 101, 101),
        resized(FIELD, 400, 300),
        np.clip(FIELD * 0.9, 0, 255).astype(np.uint8),
        np.clip(FIELD.astype(int) + 12, 0, 255).astype(np.uint8),
        recoded(resized(FIELD, 160, 160), 60),
    ],
    ids=["JPEG", "half", "odd size", "stretched", "darker", "brighter", "both"],
)
def test_a_copy_is_close(copy: Pixels) -> None:
    assert bits_apart(perceptual_hash(FIELD), perceptual_hash(copy)) <= 4


def test_other_fields_of_the_same_slide_are_far() -> None:
    hashes = [perceptual_hash(image.pixels) for image in generate(8, seed=4, images_per_subject=8)]
    hashes = [phash for phash in hashes if phash]
    apart = [bits_apart(one, two) for i, one in enumerate(hashes) for two in hashes[:i]]
    assert min(apart) > 12


def blank(seed: int) -> Pixels:
    """A field without a cell: the lens's shading, the same dust each time, and noise."""
    y, x = np.mgrid[-1:1:96j, -1:1:128j]
    field = 220 * (1 - 0.25 * (x**2 + y**2))
    for at_x, at_y in np.random.default_rng(1).uniform(-0.9, 0.9, (5, 2)):
        field -= 60 * (np.hypot(x - at_x, y - at_y) < 0.02)
    noise = np.random.default_rng(seed).normal(0, 2, field.shape)
    return np.repeat(np.clip(field + noise, 0, 255)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    "field",
    [
        np.full((30, 40, 3), 90, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        blank(1),
        recoded(blank(2), 80),
    ],
    ids=["one colour", "one pixel", "blank field", "blank field as JPEG"],
)
def test_an_image_without_structure_has_none(field: Pixels) -> None:
    assert perceptual_hash(field) == NO_HASH


@pytest.mark.parametrize("size", [(1, 40), (5, 7), (31, 33), (32, 32), (200, 3)])
def test_an_image_of_any_size_has_one(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert is_hash(perceptual_hash(pixels))


def test_grey_pixels_are_as_good_as_coloured_ones_of_that_grey() -> None:
    grey = FIELD[..., 1].copy()
    coloured = np.repeat(grey[..., None], 3, axis=2)
    assert bits_apart(perceptual_hash(grey), perceptual_hash(coloured)) == 0


def test_nothing_is_like_an_image_without_a_hash() -> None:
    assert bits_apart("00" * 8, "f0" + "00" * 7) == 4
    assert bits_apart(NO_HASH, NO_HASH) == bits_apart(NO_HASH, "00" * 8) == 64


@pytest.mark.parametrize(
    ("text", "right"), [("", True), ("0" * 16, True), ("0" * 15, False), ("G" * 16, False)]
)
def test_what_a_hash_looks_like(text: str, right: bool) -> None:
    assert is_hash(text) is right

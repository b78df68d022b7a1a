"""Whether near-duplicates are told from images that are merely alike, on real blood smears."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from loop.near_duplicates import DEFAULT_DISTANCE, near_duplicate_groups
from loop.perceptual_hash import NO_HASH, bits_apart, perceptual_hash

IMAGES = Path(__file__).parents[2] / "../shared/data/bccd/JPEGImages"
# One field of view in two focal planes: the only near-duplicates among the 292 images.
REFOCUSED = ("BloodImage_00037", "BloodImage_00038")


def recoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without ``share`` of its width and height, half of that on either side."""
    width, height = image.size
    x, y = width * share / 2, height * share / 2
    return image.crop((round(x), round(y), round(width - x), round(height - y)))


COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], float]] = {
    "JPEG of quality 30": (lambda image: recoded(image, 30), 1.0),
    "320 px as JPEG of quality 60": (lambda image: recoded(image.resize((320, 240)), 60), 1.0),
    "square": (lambda image: image.resize((416, 416)), 1.0),
    "10 % darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.9), 1.0),
    "20 % less contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.8), 1.0),
    "2 % cropped": (lambda image: cropped(image, 0.02), 0.97),
    "turned by a degree": (lambda image: image.rotate(1, fillcolor=(200, 190, 190)), 0.95),
}


@pytest.fixture(scope="module")
def images() -> dict[str, Image.Image]:
    if not IMAGES.is_dir():
        pytest.skip("the BCCD images are not here")
    paths = sorted(IMAGES.glob("*.jpg"))
    return {path.stem: Image.open(path).convert("RGB") for path in paths}


@pytest.fixture(scope="module")
def hashes(images: dict[str, Image.Image]) -> dict[str, str]:
    return {name: perceptual_hash(np.asarray(image)) for name, image in images.items()}


def test_only_the_field_that_was_taken_twice_is_a_near_duplicate(hashes: dict[str, str]) -> None:
    names = list(hashes)
    assert NO_HASH not in hashes.values()
    for distance in (DEFAULT_DISTANCE, DEFAULT_DISTANCE + 4):
        groups = near_duplicate_groups(list(hashes.values()), distance)
        crowded = [np.flatnonzero(groups == group) for group in set(groups.tolist())]
        found = [tuple(names[place] for place in each) for each in crowded if len(each) > 1]
        assert found == [REFOCUSED]


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found(
    images: dict[str, Image.Image], hashes: dict[str, str], kind: str
) -> None:
    copy, least = COPIES[kind]
    chosen = list(images)[::4]
    found = [
        bits_apart(hashes[name], perceptual_hash(np.asarray(copy(images[name]))))
        <= DEFAULT_DISTANCE
        for name in chosen
    ]
    assert np.mean(found) >= least

from __future__ import annotations

from dataclasses import replace

import pytest

from loop.errors import InvalidInput
from loop.images import Image, is_sha256

IMAGE = Image("a" * 64, 640, 480, "image/png", "patient-1", "upload", "2026-01-02T03:04:05Z")


@pytest.mark.parametrize("id", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_an_id_that_is_not_a_digest_is_refused(id: str) -> None:
    assert not is_sha256(id)
    with pytest.raises(InvalidInput, match="SHA-256"):
        replace(IMAGE, id=id)


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-3, 4)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="no pixels"):
        replace(IMAGE, width=size[0], height=size[1])


def test_an_image_without_a_subject_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no subject"):
        replace(IMAGE, subject="")


def test_an_image_is_outside_the_gold_set_unless_it_is_said() -> None:
    assert not IMAGE.gold


@pytest.mark.parametrize("phash", ["0" * 15, "0" * 17, "A" * 16, "0" * 16 + "\n", "none"])
def test_a_hash_that_is_none_is_refused(phash: str) -> None:
    with pytest.raises(InvalidInput, match="not a perceptual hash"):
        replace(IMAGE, phash=phash)
    for right in (None, "", "0123456789abcdef"):
        assert replace(IMAGE, phash=right).phash == right

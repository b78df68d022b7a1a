from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.gold import GoldDetections
from store.image_codec import encode_png
from tests.fakes import FakeImageStore
from tests.ui.training_fakes import GOLD, model
from ui.model_examples import MOST_EXAMPLES, Pictures, examples

CLASSES = ClassList(("<img src=x>", "rod"))
NAMES = ("version 1 (champion)", "version 2 (candidate)")


def box(place: int, confidence: float = 1.0, class_id: int = 1) -> LabelledBox:
    x = 30 * place
    return LabelledBox("b", Box(x, 40, x + 20, 60), class_id, confidence)


def seen(
    version: str, image_ids: Sequence[str], *detected: Sequence[LabelledBox]
) -> GoldDetections:
    """On images with a box of each class."""
    truth = tuple((box(0), box(1, class_id=0)) for _ in image_ids)
    return GoldDetections(
        model(version), GOLD, CLASSES, tuple(image_ids), truth, tuple(map(tuple, detected))
    )


def stored(images: FakeImageStore, width: int = 800, height: int = 600, seed: int = 0) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return images.put(encode_png(pixels))


def test_a_picture_is_a_small_copy_in_the_page_itself() -> None:
    images = FakeImageStore()
    picture = Pictures(images).of(stored(images))
    kind, _, data = picture.uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as small:
        assert small.size == (360, 270)
    assert (picture.width, picture.height, picture.scale) == (360, 270, 0.45)


def test_a_tiny_image_is_drawn_larger() -> None:
    images = FakeImageStore()
    picture = Pictures(images).of(stored(images, 60, 60))
    assert (picture.width, picture.height, picture.scale) == (240, 240, 4.0)


def test_a_picture_is_made_once() -> None:
    images = FakeImageStore()
    image_id = stored(images)
    pictures = Pictures(images)
    first = pictures.of(image_id)
    images.kept.clear()
    assert pictures.of(image_id) is first


def test_both_models_are_drawn_with_what_they_miss_and_what_is_false() -> None:
    images = FakeImageStore()
    one = [stored(images)]
    before = seen("1", one, [box(0, 0.9), box(1, 0.9, class_id=0)])
    after = seen("2", one, [box(0, 0.9), box(5, 0.8), box(6, 0.1)])
    html = examples(before, after, NAMES, Pictures(images), 0.25)
    assert html.count("<svg") == 2
    champion, candidate = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert champion.count('class="slt-found"') == 2
    assert 'class="slt-missed"' not in champion
    assert candidate.count('class="slt-found"') == 1
    assert candidate.count('class="slt-missed"') == 1
    assert candidate.count('class="slt-false"') == 1  # the unsure one does not count
    assert "rod 0.80" in candidate
    assert "Version 2 (candidate)" in html
    assert "false detections 0 → 1" in html


def test_boxes_are_drawn_in_pixels_of_the_picture() -> None:
    images = FakeImageStore()
    one = [stored(images)]
    html = examples(
        seen("1", one, []), seen("2", one, [box(0, 0.9)]), NAMES, Pictures(images), 0.25
    )
    assert '<rect class="slt-found" x="0.0" y="18.0" width="9.0" height="9.0"/>' in html


def test_class_names_are_text() -> None:
    images = FakeImageStore()
    one = [stored(images)]
    after = seen("2", one, [box(0, 0.9)])
    before = seen("1", one, [box(0, 0.9), box(1, 0.9, class_id=0)])
    html = examples(before, after, NAMES, Pictures(images), 0.25)
    assert "loses &lt;img src=x&gt;" in html
    assert "<img" not in html


def test_the_worst_are_shown_and_no_more_than_a_dozen() -> None:
    images = FakeImageStore()
    ids = [stored(images, 40, 40, seed) for seed in range(20)]
    good, bad = [box(0, 0.9), box(1, 0.9, class_id=0)], [box(0, 0.9)]
    before = seen("1", ids, *[good] * 20)
    after = seen("2", ids, *[bad] * 19, [])
    html = examples(before, after, NAMES, Pictures(images), 0.25)
    assert html.count("<article") == MOST_EXAMPLES
    assert html.index(ids[19][:12]) < html.index(ids[0][:12])
    assert "They differ on 20 of 20 gold images; the 12 worst are shown." in html


def test_an_image_that_cannot_be_read_does_not_hide_the_others() -> None:
    images = FakeImageStore()
    ids = ["f" * 64, stored(images)]
    html = examples(
        seen("1", ids, [], []), seen("2", ids, [box(0)], [box(0)]), NAMES, Pictures(images), 0.25
    )
    assert html.count("<article") == 2
    assert html.count("<svg") == 2


def test_models_that_find_the_same_have_no_examples() -> None:
    one = ["f" * 64]
    html = examples(seen("1", one, []), seen("2", one, []), NAMES, Pictures(FakeImageStore()), 0.25)
    assert "the same boxes" in html

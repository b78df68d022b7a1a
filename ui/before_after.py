"""Pictures of cases as two models saw them, inside the page itself.

Gradio's cache can be read by every user of the app, so that no image goes there.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox
from loop.predictions import Detection
from store.image_codec import Limits, decode, encode_jpeg
from ui.plots import COLOURS, shortened

LONGEST_PX = 360
# Dark text on these, white on the others.
_LIGHT = {"#E69F00", "#56B4E9", "#CC79A7"}
_LINE_PX, _DASH_PX, _FONT_PX, _PADDING_PX = 2, 4, 11, 2
_LABEL_CHARACTERS = 12
_JPEG_QUALITY = 85
# It was let in by the limits of its time.
_ANY_SIZE = 10**9


@dataclass(frozen=True, slots=True)
class Pair:
    """One case before and after; ``annotation`` is what people said of it."""

    case_id: str
    settled_at: str
    is_own: bool
    image: bytes
    before: tuple[Detection, ...]
    after: tuple[Detection, ...]
    annotation: tuple[FinalBox, ...]


def gallery(pairs: Sequence[Pair], classes: ClassList) -> str:
    return f'<div class="slf-cases">{"".join(_figure(pair, classes) for pair in pairs)}</div>'


def _figure(pair: Pair, classes: ClassList) -> str:
    small, scale = _downscaled(pair.image)
    truth = [box.box for box in pair.annotation]
    pictures = "".join(
        f'<div><span>{title}</span><img alt="{escape(_words(title, boxes, classes))}" '
        f'src="{_data_uri(_drawn(small, scale, boxes, truth, classes))}"></div>'
        for title, boxes in (("Earlier model", pair.before), ("This model", pair.after))
    )
    own = ' · <strong class="slf-yours">your answer</strong>'
    return (
        f'<figure class="slf-case"><div class="slf-pair">{pictures}</div>'
        f"<figcaption>Case {escape(pair.case_id[:12])}, {escape(pair.settled_at[:10])}"
        f"{own if pair.is_own else ''}</figcaption></figure>"
    )


def _words(title: str, boxes: Sequence[Detection], classes: ClassList) -> str:
    names = ", ".join(classes.name_of(box.class_id) for box in boxes)
    return f"{title}: {names or 'no box'}"


def _downscaled(data: bytes) -> tuple[Image.Image, float]:
    image = Image.fromarray(decode(data, Limits(len(data), _ANY_SIZE)).pixels)
    scale = min(1.0, LONGEST_PX / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image, scale


def _drawn(
    image: Image.Image,
    scale: float,
    boxes: Sequence[Detection],
    truth: Sequence[Box],
    classes: ClassList,
) -> Image.Image:
    picture = image.copy()
    pen = ImageDraw.Draw(picture)
    for true in truth:
        _dashed(pen, _scaled(true, scale))
    font = ImageFont.load_default(size=_FONT_PX)
    # All boxes before all labels, so that no line crosses one; the surest last, on top.
    ordered = sorted(boxes, key=lambda box: box.confidence)
    for box in ordered:
        pen.rectangle(_scaled(box.box, scale), outline=_colour(box.class_id), width=_LINE_PX)
    for box in ordered:
        name = shortened(classes.name_of(box.class_id), _LABEL_CHARACTERS)
        _label(pen, picture.size, box, scale, name, font)
    return picture


def _label(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    detection: Detection,
    scale: float,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Above the box where there is room, else inside it, and never beyond the image's sides."""
    colour = _colour(detection.class_id)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * _PADDING_PX, bottom - top + 2 * _PADDING_PX
    x1, y1, _, _ = _scaled(detection.box, scale)
    x = min(x1, max(size[0] - width, 0))
    y = y1 - height if y1 >= height else y1
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    at = (x + _PADDING_PX - left, y + _PADDING_PX - top)
    pen.text(at, text, fill="black" if colour in _LIGHT else "white", font=font)


def _dashed(pen: ImageDraw.ImageDraw, edges: tuple[float, float, float, float]) -> None:
    """Black and white in turn, which is seen on any image."""
    x1, y1, x2, y2 = edges
    for start, end in (
        ((x1, y1), (x2, y1)),
        ((x2, y1), (x2, y2)),
        ((x2, y2), (x1, y2)),
        ((x1, y2), (x1, y1)),
    ):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        steps = max(1, int(length / _DASH_PX))
        points = [
            (
                start[0] + (end[0] - start[0]) * step / steps,
                start[1] + (end[1] - start[1]) * step / steps,
            )
            for step in range(steps + 1)
        ]
        for place, ends in enumerate(pairwise(points)):
            pen.line(ends, fill="white" if place % 2 else "black", width=1)


def _scaled(box: Box, scale: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (edge * scale for edge in box.xyxy)
    # Where less than a pixel is left of a box, the drawing library would refuse it.
    return x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)


def _colour(class_id: int) -> str:
    return COLOURS[class_id % len(COLOURS)]


def _data_uri(picture: Image.Image) -> str:
    jpeg = encode_jpeg(np.asarray(picture), _JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"

"""Gold images on which two models differ, drawn side by side as HTML.

Pictures are data: URIs in the answer itself, for whatever lies in Gradio's cache can be read by
every user of the app.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from loop.agreement import LabelledBox
from loop.classes import ClassList
from loop.errors import LoopError
from loop.gold import Difference, GoldDetections, differences, found_boxes
from loop.ports import ImageStore
from store.image_codec import Limits, decode
from ui.keeping import keep

MOST_EXAMPLES = 12
# Pixels of a picture's longer side.
_SIDE_PX = 360
# A tiny image is enlarged so far, so that labels have room on it.
_MOST_ENLARGED = 4.0
_JPEG_QUALITY = 80
_MOST_KEPT = 64
_FONT_PX = 11
# Wide enough for the labels' font on every system.
_LETTER_PX = 6.3
# What was brought in was checked then, by the limits of that time.
_MOST_PIXELS = 10**9


@dataclass(frozen=True, slots=True)
class Picture:
    """``width`` and ``height`` are what it is drawn at; ``scale`` is such pixels a pixel of the
    image."""

    uri: str
    width: int
    height: int
    scale: float


class Pictures:
    """Small pictures of stored images."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._kept: dict[str, Picture] = {}

    def of(self, image_id: str) -> Picture:
        known = self._kept.get(image_id)
        return known or keep(self._kept, image_id, self._make(image_id), _MOST_KEPT)

    def _make(self, image_id: str) -> Picture:
        data = self._images.get(image_id)
        decoded = decode(data, Limits(len(data), _MOST_PIXELS))
        image = Image.fromarray(decoded.pixels)
        image.thumbnail((_SIDE_PX, _SIDE_PX))
        kept = io.BytesIO()
        image.save(kept, "JPEG", quality=_JPEG_QUALITY)
        uri = "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode()
        scale = min(_SIDE_PX / max(decoded.width, decoded.height), _MOST_ENLARGED)
        return Picture(uri, round(decoded.width * scale), round(decoded.height * scale), scale)


def examples(
    before: GoldDetections,
    after: GoldDetections,
    names: tuple[str, str],
    pictures: Pictures,
    confidence: float,
) -> str:
    """The images on which they differ most, worst for ``after`` first, with all boxes; ``names``
    are what to call the two."""
    found = differences(before, after, confidence)
    if not found:
        return '<p class="slt-quiet">Both find the same boxes on every gold image.</p>'
    shown = "".join(
        _example(before, after, names, difference, pictures, confidence)
        for difference in found[:MOST_EXAMPLES]
    )
    count = f"They differ on {len(found)} of {len(after.image_ids)} gold images"
    more = f"; the {MOST_EXAMPLES} worst are shown" if len(found) > MOST_EXAMPLES else ""
    return (
        f'<p class="slt-quiet">{count}{more}.</p>{_LEGEND}<div class="slt-examples">{shown}</div>'
    )


_KEYS = {
    "truth": "truth",
    "found": "found",
    "missed": "missed, with its class",
    "false": "false, with its class and confidence",
}
_LEGEND = (
    '<p class="slt-legend">'
    + "".join(
        f'<span><span class="slt-key slt-key-{kind}"></span>{text}</span>'
        for kind, text in _KEYS.items()
    )
    + "</p>"
)


def _example(
    before: GoldDetections,
    after: GoldDetections,
    names: tuple[str, str],
    difference: Difference,
    pictures: Pictures,
    confidence: float,
) -> str:
    image_id = after.image_ids[difference.place]
    title = (
        f"<header><code>{escape(image_id[:12])}</code> {escape(_said(after, difference))}</header>"
    )
    try:
        picture = pictures.of(image_id)
    except LoopError as error:
        return f'<article class="slt-example">{title}<p>{escape(error.message)}</p></article>'
    sides = "".join(
        f"<figure>{_drawing(seen, difference.place, picture, confidence)}"
        f"<figcaption>{escape(name.capitalize())}</figcaption></figure>"
        for name, seen in zip(names, (before, after), strict=True)
    )
    return f'<article class="slt-example">{title}<div class="slt-sides">{sides}</div></article>'


def _said(seen: GoldDetections, difference: Difference) -> str:
    truth = seen.truth[difference.place]
    parts = []
    for verb, places in (("loses", difference.lost), ("gains", difference.gained)):
        if places:
            parts.append(f"{verb} {_counted([truth[place] for place in places], seen.classes)}")
    if difference.false_before != difference.false_after:
        parts.append(f"false detections {difference.false_before} → {difference.false_after}")
    return f"The candidate: {'; '.join(parts)}."


def _counted(boxes: Sequence[LabelledBox], classes: ClassList) -> str:
    counts = Counter(_name(classes, box) for box in boxes)
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in counts.items())


def _drawing(seen: GoldDetections, place: int, picture: Picture, confidence: float) -> str:
    """Found boxes below, then the truth, then what went wrong, then all labels."""
    truth, detected = seen.truth[place], seen.detected[place]
    hits = found_boxes(truth, detected, confidence)
    found = [detected[n] for n in hits.values()]
    false = [
        box
        for n, box in enumerate(detected)
        if box.confidence >= confidence and n not in hits.values()
    ]
    missed = [box for n, box in enumerate(truth) if n not in hits]
    pen = _Pen(picture)
    for box in found:
        pen.box(box, "found")
    for box in truth:
        pen.box(box, "halo")
        pen.box(box, "truth")
    for box in missed:
        pen.box(box, "missed")
    for box in false:
        pen.box(box, "false")
    for box in missed:
        pen.label(box, _name(seen.classes, box), "missed")
    for box in false:
        pen.label(box, f"{_name(seen.classes, box)} {box.confidence:.2f}", "false")
    what = f"{len(found)} found, {len(missed)} missed, {len(false)} false"
    return pen.svg(f"Model version {seen.model.version}: {what}")


class _Pen:
    """Draws in pixels of the picture."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._parts: list[str] = []

    def box(self, box: LabelledBox, kind: str) -> None:
        x1, y1, x2, y2 = self._edges(box)
        self._parts.append(
            f'<rect class="slt-{kind}" x="{x1:.1f}" y="{y1:.1f}" '
            f'width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
        )

    def label(self, box: LabelledBox, text: str, kind: str) -> None:
        """Above the box where there is room, else inside it, and never beyond the sides."""
        x1, y1, _, _ = self._edges(box)
        width = min(len(text) * _LETTER_PX + 6, self._picture.width)
        height = _FONT_PX + 4
        x = max(0.0, min(x1, self._picture.width - width))
        y = y1 - height if y1 >= height else y1
        self._parts.append(
            f'<rect class="slt-plate slt-plate-{kind}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{width:.1f}" height="{height}"/>'
            f'<text class="slt-on-{kind}" x="{x + 3:.1f}" y="{y + _FONT_PX:.1f}" '
            f'font-size="{_FONT_PX}" textLength="{width - 6:.1f}" '
            f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        )

    def svg(self, description: str) -> str:
        picture = self._picture
        return (
            f'<svg viewBox="0 0 {picture.width} {picture.height}" role="img" '
            f'aria-label="{escape(description)}" style="max-width:{picture.width}px">'
            f'<image href="{picture.uri}" width="{picture.width}" height="{picture.height}"/>'
            f"{''.join(self._parts)}</svg>"
        )

    def _edges(self, box: LabelledBox) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = (edge * self._picture.scale for edge in box.box.xyxy)
        return x1, y1, x2, y2


def _name(classes: ClassList, box: LabelledBox) -> str:
    known = 0 <= box.class_id < len(classes)
    return classes.name_of(box.class_id) if known else f"class {box.class_id}"

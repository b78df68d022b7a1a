"""The images on which the folds' models are most wrong, drawn for people: one HTML file.

Images are personal data, and subjects are pseudonyms: this goes into MLflow, where the models are,
and nowhere else; ``SECONDLOOK_LOG_EXAMPLES=false`` leaves it out.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from html import escape

from PIL import Image, ImageDraw, ImageFont

from loop.agreement import LabelledBox
from loop.classes import ClassList
from loop.confusion import CONFIDENCE, IOU
from loop.worst_images import WrongImage, worst_images
from store.image_codec import Limits, decode
from store.snapshot_files import Snapshot
from train.out_of_fold import OutOfFold, Seen

ERRORS_PAGE = "worst_errors.html"
MOST_EXAMPLES = 12
# Pixels of a picture's longer side: two stand beside each other on a usual screen.
_SIDE_PX = 620
# A tiny image is enlarged so far, so that labels have room on it.
_MOST_ENLARGED = 6.0
_JPEG_QUALITY = 82
_FONT_PX = 14
# What was brought in was checked then, by the limits of that time.
_MOST_PIXELS = 10**9
# Okabe and Ito's palette, told apart with any colour vision; https://jfly.uni-koeln.de/color/
_FOUND, _MISSED, _FALSE, _CONFUSED = "#56B4E9", "#E69F00", "#D55E00", "#CC79A7"
_WIDTHS = {_FOUND: 2, _MISSED: 4, _FALSE: 4, _CONFUSED: 4}

# A box, its colour and its label, which is empty for none.
_Drawn = tuple[LabelledBox, str, str]


def errors_page(snapshot: Snapshot, seen: OutOfFold, most: int = MOST_EXAMPLES) -> str:
    """The ``most`` worst images, each twice: its true boxes, and what was detected."""
    truth, detected = seen.truth(), seen.detected(CONFIDENCE)
    wrong = worst_images(truth, detected, most)
    articles = [
        _article(snapshot, seen.classes, seen.images[w.place], w, truth[w.place], detected[w.place])
        for w in wrong
    ]
    told = (
        f"The {len(wrong)} worst of {len(seen.images)} images. The score of an image is 1 for each "
        f"missed box plus its confidence for each false detection; a box found as another class is "
        f"both. Detections from confidence {CONFIDENCE:g} up, hits from IoU {IOU:g} up. Each image "
        "was seen by the model of the fold that was not trained on it."
    )
    body = "".join(articles) or "<p>No image has an error.</p>"
    return f"{_HEAD}<h1>Worst errors</h1><p>{escape(told)}</p>{_LEGEND}{body}"


def _article(
    snapshot: Snapshot,
    classes: ClassList,
    image: Seen,
    wrong: WrongImage,
    truth: Sequence[LabelledBox],
    detected: Sequence[LabelledBox],
) -> str:
    pairing = wrong.pairing
    true_boxes: list[_Drawn] = [(truth[t], _FOUND, "") for t, _ in pairing.found]
    true_boxes += [(truth[t], _CONFUSED, _name(classes, truth[t])) for t, _ in pairing.confused]
    true_boxes += [(truth[t], _MISSED, _name(classes, truth[t])) for t in pairing.missed]
    found: list[_Drawn] = [(detected[d], _FOUND, "") for _, d in pairing.found]
    found += [(detected[d], _CONFUSED, _sure(classes, detected[d])) for _, d in pairing.confused]
    found += [(detected[d], _FALSE, _sure(classes, detected[d])) for d in pairing.false]
    data = bytes(snapshot.image_bytes(image.image_id))
    picture = Image.fromarray(decode(data, Limits(len(data), _MOST_PIXELS)).pixels)
    said = _said(classes, truth, detected, wrong)
    title = f"{escape(image.image_id[:12])} · score {wrong.score:.2f} · fold {image.fold}"
    return (
        f"<article><h2>{title}</h2><p>{escape(said)}</p><div class='pair'>"
        f"{_figure(picture, true_boxes, 'Truth', said)}{_figure(picture, found, 'Detected', said)}"
        "</div></article>"
    )


def _figure(picture: Image.Image, boxes: Sequence[_Drawn], caption: str, said: str) -> str:
    kept = io.BytesIO()
    drawn(picture, boxes).save(kept, "JPEG", quality=_JPEG_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode()
    alt = escape(f"{caption}: {said}", quote=True)
    return f"<figure><img src='{uri}' alt='{alt}'><figcaption>{caption}</figcaption></figure>"


def drawn(picture: Image.Image, boxes: Sequence[_Drawn]) -> Image.Image:
    """A copy with its longer side at 620 pixels, and the boxes on it, labels on top."""
    scale = min(_SIDE_PX / max(picture.size), _MOST_ENLARGED)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    made = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(made)
    font = ImageFont.load_default(_FONT_PX)
    for box, colour, _ in boxes:
        edges = tuple(edge * scale for edge in box.box.xyxy)
        # A dark rim, so that a box is seen on every ground.
        pen.rectangle(edges, outline="#1f2933", width=_WIDTHS[colour] + 2)
        pen.rectangle(edges, outline=colour, width=_WIDTHS[colour])
    for box, colour, label in boxes:
        if label:
            _write(pen, font, (box.box.x1 * scale, box.box.y1 * scale), size, colour, label)
    return made


def _write(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    at: tuple[float, float],
    size: tuple[int, int],
    colour: str,
    label: str,
) -> None:
    """Above the box's corner where there is room, else inside it, and never beyond the sides."""
    width, height = pen.textlength(label, font) + 6, _FONT_PX + 5
    x = max(0.0, min(at[0], size[0] - width))
    y = at[1] - height if at[1] >= height else at[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 3, y + 1), label, fill="black", font=font)


def _said(
    classes: ClassList,
    truth: Sequence[LabelledBox],
    detected: Sequence[LabelledBox],
    wrong: WrongImage,
) -> str:
    pairing = wrong.pairing
    parts = []
    if pairing.missed:
        parts.append(f"missed {_counted(classes, [truth[t] for t in pairing.missed])}")
    if pairing.false:
        parts.append(f"false {_counted(classes, [detected[d] for d in pairing.false])}")
    for t, d in pairing.confused:
        parts.append(f"{_name(classes, truth[t])} taken for {_name(classes, detected[d])}")
    return f"{len(truth)} true boxes, {len(pairing.found)} found; {'; '.join(parts)}."


def _counted(classes: ClassList, boxes: Sequence[LabelledBox]) -> str:
    counts = Counter(_name(classes, box) for box in boxes)
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in counts.items())


def _name(classes: ClassList, box: LabelledBox) -> str:
    return classes.name_of(box.class_id)


def _sure(classes: ClassList, box: LabelledBox) -> str:
    return f"{_name(classes, box)} {box.confidence:.2f}"


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Worst errors</title><style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; margin: 24px; max-width: 1300px; }
h1 { font-size: 22px; } h2 { font-size: 15px; margin: 0; }
article { border-top: 1px solid #d9dee4; padding: 14px 0; } article p { margin: 2px 0 8px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 16px; }
figure { margin: 0; } img { max-width: 100%; height: auto; } figcaption { color: #52606d; }
.legend span { margin-right: 18px; white-space: nowrap; }
.legend i { display: inline-block; width: 20px; height: 12px; margin-right: 6px; }
</style>"""
_LEGEND = (
    "<p class='legend'>"
    + "".join(
        f"<span><i style='border: {_WIDTHS[colour]}px solid {colour}'></i>{text}</span>"
        for colour, text in (
            (_FOUND, "found"),
            (_MISSED, "missed (truth)"),
            (_FALSE, "false (detected)"),
            (_CONFUSED, "taken for another class"),
        )
    )
    + "</p>"
)

"""Asks the API about one image and draws what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from loop.errors import InvalidInput, LoopError, Unavailable

# Okabe and Ito's palette, which people with any colour vision can tell apart; its yellow is left
# out, it is lost on a bright image. https://jfly.uni-koeln.de/color/
_PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_TEXT = {"#D55E00": "white", "#0072B2": "white", "#009E73": "white"}
_SECONDS = 60.0
# Lines and labels as fractions of the longer side, so that a large image is as legible.
_LINE, _LABEL = 1 / 400, 1 / 55
_SMALLEST_LABEL_PIXELS = 10
_PADDING_PIXELS = 2


@dataclass(frozen=True, slots=True)
class Found:
    """An answer of ``POST /v1/images``."""

    model: Mapping[str, str]
    detections: Sequence[Mapping[str, Any]]
    review_id: str

    def rows(self) -> list[list[str | int]]:
        """For a table: number, class, confidence, and the box's edges in whole pixels."""
        return [
            [
                number,
                detection["class_name"],
                f"{detection['confidence']:.2f}",
                " ".join(f"{edge:.0f}" for edge in detection["box"]),
            ]
            for number, detection in enumerate(self.detections, 1)
        ]


def ask(client: httpx.Client, data: bytes) -> Found:
    """Send an image, which stores it and queues it for review.

    Raises `InvalidInput` with what the API says of the image, and `Unavailable` when there is no
    API or no model.
    """
    try:
        response = client.post(
            "/v1/images",
            content=data,
            headers={"content-type": "application/octet-stream"},
            params={"source": "reviewers-app"},
            timeout=_SECONDS,
        )
    except httpx.TransportError as error:
        raise Unavailable(
            f"The detection API at {client.base_url} does not answer.",
            hint="Start it with `secondlook up`, then try again.",
        ) from error
    if response.is_error:
        raise _refusal(response)
    answer = response.json()
    return Found(answer["model"], answer["detections"], answer["review_id"])


def draw(pixels: NDArray[np.uint8], detections: Sequence[Mapping[str, Any]]) -> Image.Image:
    """The image with its boxes, each with the number of its row in the table and its class."""
    image = Image.fromarray(pixels).convert("RGB")
    longer = max(image.size)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(_SMALLEST_LABEL_PIXELS, longer * _LABEL))
    thickness = max(2, round(longer * _LINE))
    # All boxes before all labels, so that no line crosses one; the surest last, on top.
    for detection in reversed(detections):
        pen.rectangle(tuple(detection["box"]), outline=_colour(detection), width=thickness)
    for number, detection in reversed(list(enumerate(detections, 1))):
        _label(pen, image.size, detection, f"{number} {detection['class_name']}", font)
    return image


def _label(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    detection: Mapping[str, Any],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Above the box where there is room, else inside it, and never beyond the image's sides."""
    colour = _colour(detection)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * _PADDING_PIXELS, bottom - top + 2 * _PADDING_PIXELS
    x1, y1, _, _ = detection["box"]
    x = min(x1, max(size[0] - width, 0))
    y = y1 - height if y1 >= height else y1
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    at = (x + _PADDING_PIXELS - left, y + _PADDING_PIXELS - top)
    pen.text(at, text, fill=_TEXT.get(colour, "black"), font=font)


def _colour(detection: Mapping[str, Any]) -> str:
    return _PALETTE[detection["class_id"] % len(_PALETTE)]


def _refusal(response: httpx.Response) -> LoopError:
    kind = Unavailable if response.status_code >= 500 else InvalidInput
    try:
        error = response.json()["error"]
        return kind(error["message"], hint=error["hint"], code=error["code"])
    except (ValueError, KeyError, TypeError):
        return kind(
            f"The API answered {response.status_code} and nothing that this page understands.",
            hint="Is something else listening on the API's port?",
        )

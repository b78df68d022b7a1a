"""The page: one tab that detects, one that shows what waits for review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
from PIL import Image

from loop.cases import CaseState
from loop.errors import LoopError
from loop.ports import UnitsOfWork
from store.image_codec import Limits, decode
from ui import waiting
from ui.detection import ask, draw

_NO_DETECTION = "Upload an image to see what the model in service finds in it."
_TABLE = ["#", "Class", "Confidence", "x1 y1 x2 y2"]
# Uploads are copied to Gradio's cache, which every user of the page can read: seconds between
# clean-ups, and the age from which a file goes.
_CACHE_SECONDS = (600, 600)


def build_page(client: httpx.Client, units: UnitsOfWork, limits: Limits) -> gr.Blocks:
    """``client`` has the API's address as its base URL."""
    detect, show = _detector(client, limits), _queue(units)
    with gr.Blocks(
        title="Second Look", analytics_enabled=False, delete_cache=_CACHE_SECONDS, fill_width=True
    ) as page:
        gr.Markdown("# Second Look\nEvery detection gets a second look.")
        with gr.Tab("Detect"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload = gr.File(
                    label="Image (JPEG, PNG, TIFF, BMP or WebP)",
                    file_types=["image"],
                    height=150,
                )
                message = gr.Markdown(_NO_DETECTION)
                table = gr.Dataframe(
                    headers=_TABLE,
                    label="Detections",
                    interactive=False,
                    max_height=380,
                    buttons=["copy"],
                )
            with gr.Column(scale=3, min_width=400):
                picture = gr.Image(
                    label="What the model sees",
                    interactive=False,
                    buttons=["fullscreen"],
                    format="png",
                    height=560,
                )
        upload.change(detect, upload, [message, picture, table], api_visibility="private")
        with gr.Tab("Waiting for review") as tab:
            with gr.Row():
                refresh = gr.Button("Refresh", size="sm", scale=0)
            outputs = []
            for title in ("First review", "Second review"):
                gr.Markdown(f"### {title}")
                heading = gr.Markdown()
                rows = gr.Dataframe(
                    headers=waiting.HEADERS,
                    show_label=False,
                    interactive=False,
                    max_height=260,
                    buttons=[],
                )
                outputs += [heading, rows]
        for event in (refresh.click, tab.select, page.load):
            event(show, None, outputs, api_visibility="private", show_progress="hidden")
    return page


def _detector(
    client: httpx.Client, limits: Limits
) -> Callable[[str | None], tuple[str, Image.Image | None, list[list[Any]]]]:
    def detect(path: str | None) -> tuple[str, Image.Image | None, list[list[Any]]]:
        if path is None:
            return _NO_DETECTION, None, []
        try:
            data = Path(path).read_bytes()
            found = ask(client, data)
            picture = draw(decode(data, limits).pixels, found.detections)
        except LoopError as error:
            return _sorry(error), None, []
        count = len(found.detections)
        message = (
            f"**{count} {'detection' if count == 1 else 'detections'}** by model "
            f"{found.model['name']}, version {found.model['version']}. "
            f"Queued for review as case `{found.review_id[:12]}`."
        )
        return message, picture, found.rows()

    return detect


def _queue(units: UnitsOfWork) -> Callable[[], list[Any]]:
    def show() -> list[Any]:
        try:
            first = waiting.waiting(units, CaseState.FIRST)
            second = waiting.waiting(units, CaseState.SECOND)
        except LoopError as error:
            return [_sorry(error), [], _sorry(error), []]
        return [first.heading, first.rows, second.heading, second.rows]

    return show


def _sorry(error: LoopError) -> str:
    return f"⚠️ **{error.message}** {error.hint}"

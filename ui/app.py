"""The reviewers' app: ``python -m ui.app`` serves it on ``SECONDLOOK_UI_PORT``."""

from __future__ import annotations

import os
import sys

import gradio as gr
import httpx
import uvicorn
from fastapi import FastAPI

from loop.errors import LoopError
from loop.ports import UnitsOfWork
from store.image_codec import Limits
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from ui.page import build_page

# Fonts that are on the machine: Gradio's own themes fetch theirs from the internet.
_FONT = ["system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]


def build_ui(settings: Settings, units: UnitsOfWork, client: httpx.Client) -> FastAPI:
    """The app, ready to be served. ``client`` has the API's address as its base URL."""
    app = FastAPI(title="Second Look", docs_url=None, redoc_url=None, openapi_url=None)
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(client, units, limits),
        path="/",
        server_name=settings.host,
        server_port=settings.ui_port,
        theme=gr.themes.Default(primary_hue="blue", font=_FONT, font_mono=_MONO),
        max_file_size=settings.max_image_bytes,
        allowed_paths=[],
        show_error=False,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        footer_links=[],
    )
    return mounted


def main() -> int:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        settings = load_settings()
        units = open_units_of_work(settings)
    except LoopError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)  # noqa: T201 (no log is open yet)
        return 1
    # The API is on this machine or next to it: no proxy for the internet in between.
    with httpx.Client(base_url=settings.api_url, trust_env=False) as client:
        uvicorn.run(
            build_ui(settings, units, client),
            host=settings.host,
            port=settings.ui_port,
            log_level=settings.log_level.lower(),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The tab in which images come in: its work is done by ``static/uploads.mjs``."""

from __future__ import annotations

import gradio as gr

from ui.script import script


def build_uploads(static: str) -> gr.HTML:
    """``static`` is the path of the scripts (`ui.static_files.static_path`).

    The component's ``upload`` event comes whenever images were queued or a data set was imported,
    so that other parts of the page can look again.
    """
    return script(f"{static}/uploads.mjs", "uploads")

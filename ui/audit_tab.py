"""The auditor's tab: its work is done by ``static/audit.mjs`` and ``ui.routes.audit``."""

from __future__ import annotations

import gradio as gr

from ui.script import script


def build_audit(static: str) -> gr.HTML:
    """``static`` is the path of the scripts (`ui.static_files.static_path`)."""
    return script(f"{static}/audit.mjs", "audit")

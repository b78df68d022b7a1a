"""Looks again while somebody looks: an invisible part of a tab that asks for fresh contents."""

from __future__ import annotations

import time

import gradio as gr

_PERIOD_MS = 3000
# Gradio's own timer runs on while its tab is closed and the window is hidden. This one waits for
# an answer before it asks again, so that it is silent once its handler refuses.
_JS = f"""
let shown = false, answered = null;
const look = setInterval(() => {{
    if (!element.isConnected) {{ clearInterval(look); return; }}
    const visible = element.getClientRects().length > 0 && !document.hidden;
    if (visible && !shown) {{ answered = props.value; trigger('opened'); }}
    shown = visible;
}}, 200);
setInterval(() => {{
    const value = props.value || '';
    if (!shown || !value.startsWith('live') || value === answered) return;
    answered = value;
    trigger('ticked');
}}, {_PERIOD_MS});
"""


def ticker() -> gr.HTML:
    """``opened`` comes whenever its tab comes into view, ``ticked`` every three seconds while it
    is in view and the value that a handler gave it last was ``tick(True)``."""
    return gr.HTML(
        html_template="<span></span>",
        elem_classes="slt-ticker",
        js_on_load=_JS,
        apply_default_css=False,
        container=False,
        padding=False,
    )


def tick(live: bool) -> str:
    """What a handler answers: whether to ask again. Never the same value twice."""
    return f"{'live' if live else 'idle'}:{time.monotonic_ns()}"

"""A place in a Gradio page that a script of ours fills."""

from __future__ import annotations

import gradio as gr


def script(path: str, name: str) -> gr.HTML:
    """An empty element that the module at ``path`` mounts itself on.

    The template is static: data in it would be run as a template, and a change would wipe what
    the script has made.
    """
    return gr.HTML(
        html_template=f'<div class="sl-root sl-{name}-root" data-testid="{name}-root"></div>',
        js_on_load=(
            f"import('{path}').then(m => m.mount("
            f"{{element: element.querySelector('.sl-{name}-root') ?? element, trigger, base: ''}}))"
        ),
        apply_default_css=False,
        container=False,
        padding=False,
    )

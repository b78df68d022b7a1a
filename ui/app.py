"""The reviewers' app put together: the gate, our own routes, and the Gradio page behind them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
import httpx
from fastapi import FastAPI

from loop.desk import Desk
from store.image_codec import Limits
from store.settings import Settings
from ui.bulk_import import BulkImports
from ui.entrance import add_entrance
from ui.errors import install_error_handlers
from ui.gate import HEALTH, person_of
from ui.page import Parts, build_page
from ui.routes import imports, uploads
from ui.routes.audit import AuditRoutes
from ui.routes.desk import DeskRoutes
from ui.routes.images import ImageRoutes
from ui.routes.metrics import MetricsRoute
from ui.static_files import static_files, static_path

# Fonts that are on the machine: Gradio's own themes fetch theirs from the internet.
_FONT = ["system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]
# Between looks of an idle queue for events.
_QUEUE_SECONDS = 0.02
_PROGRESS_SECONDS = 0.1
_STYLES = (
    "page.css",
    "figures.css",
    "desk.css",
    "uploads.css",
    "training.css",
    "people.css",
    "audit.css",
)


@dataclass(frozen=True, slots=True)
class Outside:
    """What the routes need besides `Parts`. ``client`` has the detection API's address."""

    imports: BulkImports
    client: httpx.AsyncClient
    metrics: MetricsRoute


def build_app(settings: Settings, parts: Parts, outside: Outside) -> FastAPI:
    """The app, ready to be served."""
    app = FastAPI(title="Second Look", docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(app)
    add_entrance(app, settings, parts.people)
    app.get(HEALTH)(_healthz)
    app.include_router(outside.metrics.router())
    _add_routes(app, settings, parts, outside)
    static = static_path()
    app.mount(static, static_files())
    page = build_page(parts, static)
    # An idle queue looks for events a thousand times a second, and for progress a hundred times,
    # which takes 4 % of a core.
    page._queue.sleep_when_free = _QUEUE_SECONDS
    page._queue.progress_update_sleep_when_free = _PROGRESS_SECONDS
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=settings.host,
        server_port=settings.ui_port,
        theme=gr.themes.Default(primary_hue="blue", font=_FONT, font_mono=_MONO),
        # Plots, images and our own panels are made for a light page, whatever the system prefers.
        js="() => document.body.classList.remove('dark')",
        head="".join(f'<link rel="stylesheet" href="{static}/{name}">' for name in _STYLES),
        # Nothing is uploaded through Gradio, whose cache every user of the app can read.
        max_file_size=1,
        allowed_paths=[],
        show_error=False,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        footer_links=[],
    )
    return mounted


def _add_routes(app: FastAPI, settings: Settings, parts: Parts, outside: Outside) -> None:
    desk = Desk(parts.units, settings.desk)
    app.include_router(DeskRoutes(desk, parts.units, settings.lease_seconds).router())
    app.include_router(ImageRoutes(parts.units, parts.images).router())
    app.include_router(AuditRoutes(parts.auditing).router())
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    app.include_router(
        uploads.router(client=outside.client, limits=limits, units=parts.units, person_of=person_of)
    )
    app.include_router(
        imports.router(
            imports=outside.imports,
            max_bytes=settings.max_import_bytes,
            person_of=person_of,
        )
    )


def _healthz() -> dict[str, str]:
    """The app answers. Open to everyone, and says nothing else."""
    return {"status": "ok"}

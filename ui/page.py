"""The app's one page: a tab for each kind of work. Who may not do it does not see the tab, and is
refused by every handler behind it all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import httpx

from loop.access import Permission, Person
from loop.agreement import AgreementSettings
from loop.ports import ImageStore, UnitsOfWork
from store.model_registry import ModelRegistry
from store.tracking import Tracking
from ui.api_keys import build_api_keys
from ui.audit_tab import build_audit
from ui.auditing import Auditing
from ui.guard import Guard, guard
from ui.impact import build_impact
from ui.operations import Operations
from ui.people import build_people
from ui.progress import build_progress
from ui.script import script
from ui.service import build_service
from ui.sessions import People
from ui.training import build_training
from ui.upload_tab import build_uploads

_EVERYONE = Permission.SEE_PROGRESS  # each role has it


@dataclass(frozen=True, slots=True)
class Parts:
    """What the tabs work with. ``client`` has the detection API's address as its base URL."""

    units: UnitsOfWork
    images: ImageStore
    tracking: Tracking
    registry: ModelRegistry
    people: People
    operations: Operations
    client: httpx.Client
    agreement: AgreementSettings
    auditing: Auditing


@dataclass(frozen=True, slots=True)
class _Tab:
    id: str
    title: str
    permission: Permission
    build: Callable[[], object]


def build_page(parts: Parts, static: str) -> gr.Blocks:
    """``static`` is the path of the page's scripts."""
    with gr.Blocks(title="Second Look", analytics_enabled=False, fill_width=True) as page:
        script(f"{static}/header.mjs", "header")
        shown = []
        with gr.Tabs() as tabs:
            all_tabs = _tabs(parts, static)
            for tab in all_tabs:
                with gr.Tab(tab.title, id=tab.id, visible=False) as item:
                    tab.build()
                shown.append(item)
        page.load(
            guard(_EVERYONE, _show(all_tabs)),
            None,
            [tabs, *shown],
            api_visibility="private",
            show_progress="hidden",
        )
    return page


def _tabs(parts: Parts, static: str) -> list[_Tab]:
    units, images = parts.units, parts.images
    return [
        _Tab("review", "Review", Permission.REVIEW, lambda: script(f"{static}/desk.mjs", "desk")),
        _Tab("upload", "Upload", Permission.SUBMIT_IMAGES, lambda: build_uploads(static)),
        _Tab("progress", "Progress", _EVERYONE, lambda: build_progress(guard, units)),
        _Tab(
            "impact",
            "What changed",
            _EVERYONE,
            lambda: build_impact(
                guard,
                units,
                images,
                parts.tracking,
                parts.registry,
                parts.client,
                parts.agreement,
            ),
        ),
        _Tab(
            "training",
            "Training",
            Permission.SEE_MODELS,
            lambda: build_training(
                guard, units, images, parts.tracking, parts.registry, parts.operations
            ),
        ),
        _Tab(
            "service",
            "Stop switch",
            Permission.STOP,
            lambda: build_service(guard, units, parts.registry),
        ),
        _Tab("audit", "Audit", Permission.AUDIT, lambda: build_audit(static)),
        _Tab(
            "people",
            "People",
            Permission.MANAGE_PEOPLE,
            lambda: _people(guard, parts.people),
        ),
    ]


def _people(guard: Guard, people: People) -> None:
    build_people(guard, people)
    build_api_keys(guard, people.api_keys)


def _show(tabs: list[_Tab]) -> Callable[[Person], list[Any]]:
    def show(person: Person) -> list[Any]:
        allowed = [tab for tab in tabs if person.may(tab.permission)]
        first = allowed[0].id if allowed else None
        updates = [gr.Tab(visible=person.may(tab.permission)) for tab in tabs]
        return [gr.Tabs(selected=first), *updates]

    return show

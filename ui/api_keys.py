"""The part of the tab for admins with API keys: which there are, and an end to one."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.accounts import Account, stamp
from loop.api_keys import ApiKey, scope_names
from loop.errors import InvalidInput
from loop.events import Actor
from loop.managing_keys import ManageApiKeys
from loop.sessions import utc_now
from ui.guard import Guard
from ui.ticker import ticker
from ui.training_html import Cell, area, heading, quiet, table, when, whole

_COLUMNS = ["Id", "Label", "Owner", "Role", "Scopes", "State", "Ends", "Last used"]
_NOTE = (
    "Programs use the API with a key. One is made on the command line, which shows it once: "
    "secondlook users token create. The API refuses a revoked key some seconds later."
)


def build_api_keys(guard: Guard, manage: ManageApiKeys) -> None:
    """``guard`` makes a handler of a function that takes the person who asks."""
    with gr.Column(elem_classes=["slt", "slp"]):
        area(heading("API keys"))
        keys = area()
        with gr.Row(equal_height=False):
            which = gr.Dropdown([], label="Key", value=None, min_width=240)
            revoke = gr.Button("Revoke", min_width=100, scale=0)
        area(quiet(_NOTE))
        eye = ticker()
    acts = KeyActs(manage)
    for event, act, inputs in ((eye.opened, acts.look, None), (revoke.click, acts.revoke, which)):
        event(
            guard(Permission.MANAGE_PEOPLE, act),
            inputs,
            [keys, which],
            api_visibility="private",
            show_progress="hidden",
        )


class KeyActs:
    """Handlers: each takes the admin who asks, and answers with the table and the choice."""

    def __init__(self, manage: ManageApiKeys) -> None:
        self._manage = manage

    def look(self, admin: Person) -> list[Any]:
        now = stamp(utc_now())
        found = self._manage.list(actor=_actor(admin))
        rows = [_row(key, owner, now) for key, owner in found]
        good = [(f"{key.label} ({key.id})", key.id) for key, _ in found if not key.revoked_at]
        shown = table(_COLUMNS, rows, text_columns=range(len(_COLUMNS)), empty="There are none.")
        return [shown, gr.Dropdown(choices=good, value=None)]

    def revoke(self, admin: Person, key_id: str | None) -> list[Any]:
        if not key_id:
            raise InvalidInput("Choose a key first.")
        key = self._manage.revoke(key_id, actor=_actor(admin))
        gr.Info(escape(f"Nobody comes in with {key.label} any more."), duration=4)
        return self.look(admin)


def _row(key: ApiKey, owner: Account | None, now: str) -> list[str | Cell]:
    return [
        whole(key.id),
        key.label,
        owner.login if owner else "a service",
        whole(key.role.value),
        ", ".join(scope_names(key.scopes)),
        whole(key.state(owner, now)),
        when(key.expires_at or "") or whole("never"),
        when(key.last_used_at or "") or whole("never"),
    ]


def _actor(admin: Person) -> Actor:
    return admin.acting(Permission.MANAGE_PEOPLE)

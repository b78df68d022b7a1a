"""The tab for admins: who has an account, who is invited, and with which roles they work."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from loop.access import Permission, Person
from loop.accounts import ASSIGNABLE_ROLES, Account, login_key, role_names
from loop.errors import InvalidInput
from loop.events import Actor, Role
from loop.people import ManagePeople
from ui.guard import Guard
from ui.sessions import People
from ui.ticker import ticker
from ui.training_html import Cell, area, heading, quiet, table, whole

_COLUMNS = ["Login", "Name", "Pseudonym", "Roles", "State", "Last sign-in (UTC)"]
_ROLES = role_names(ASSIGNABLE_ROLES)
_NOTE = (
    "What somebody did stays under their pseudonym, whatever happens to the account. A new link "
    "sets a new password: the old one, and all sessions, end at once."
)
_TOAST_SECONDS = 4


def build_people(guard: Guard, people: People) -> None:
    """Fill the tab. ``guard`` makes a handler of a function that takes the person who asks."""
    with gr.Column(elem_classes=["slt", "slp"]):
        area(heading("Accounts"))
        accounts = area()
        link = gr.Textbox(interactive=False, visible=False, buttons=["copy"])
        with gr.Row(equal_height=False):
            with gr.Column(min_width=360):
                area(heading("Invite somebody"))
                with gr.Row():
                    login = gr.Textbox(label="Login", max_lines=1, min_width=140)
                    name = gr.Textbox(label="Name", max_lines=1, min_width=140)
                roles = gr.CheckboxGroup(_ROLES, label="Roles", value=[Role.REVIEWER.value])
                invite = gr.Button("Invite", variant="primary")
            with gr.Column(min_width=360):
                area(heading("Change an account"))
                whom = gr.Dropdown([], label="Account", value=None)
                changed = gr.CheckboxGroup(_ROLES, label="Roles", value=[])
                with gr.Row():
                    save = gr.Button("Save roles", variant="primary", min_width=100)
                    renew = gr.Button("New link", min_width=100)
                    switch = gr.Button("Disable", min_width=100)
                area(quiet(_NOTE))
        eye = ticker()

    acts = _Acts(people.manage, people.welcome_url)
    view = [accounts, whom, link]
    chosen = [whom, changed, switch, link]
    for event, act, inputs, outputs in (
        (eye.opened, acts.look, whom, view),
        (whom.input, acts.choose, whom, chosen),
        (invite.click, acts.invite, [login, name, roles], [*view, login, name]),
        (save.click, acts.save_roles, [whom, changed], view),
        (renew.click, acts.new_link, whom, view),
        (switch.click, acts.switch, whom, [*view, switch]),
    ):
        event(
            guard(Permission.MANAGE_PEOPLE, act),
            inputs,
            outputs,
            api_visibility="private",
            show_progress="hidden",
        )


class _Acts:
    """Handlers: each takes the admin who asks, and answers with what is to be shown."""

    def __init__(self, manage: ManagePeople, welcome_url: Callable[[str], str]) -> None:
        self._manage = manage
        self._welcome_url = welcome_url

    def look(self, admin: Person, login: str | None) -> list[Any]:
        return self._view(admin, login)

    def choose(self, admin: Person, login: str | None) -> list[Any]:
        account = self._find(admin, login)
        return [gr.skip(), role_names(account.roles), _switch(account), _no_link()]

    def invite(self, admin: Person, login: str, name: str, roles: list[str]) -> list[Any]:
        token = self._manage.invite(login, name or login, _roles(roles), actor=_actor(admin))
        _say(f"{login} is invited.")
        return [*self._view(admin, None, self._link(login, token)), "", ""]

    def save_roles(self, admin: Person, login: str | None, roles: list[str]) -> list[Any]:
        account = self._find(admin, login)
        self._manage.change_roles(account.login, _roles(roles), actor=_actor(admin))
        _say(f"{account.login} has these roles from now on.")
        return self._view(admin, account.login)

    def new_link(self, admin: Person, login: str | None) -> list[Any]:
        account = self._find(admin, login)
        token = self._manage.new_link(account.login, actor=_actor(admin))
        return self._view(admin, account.login, self._link(account.login, token))

    def switch(self, admin: Person, login: str | None) -> list[Any]:
        """Disable who is enabled, and the other way round."""
        account = self._find(admin, login)
        act = self._manage.enable if account.disabled else self._manage.disable
        account = act(account.login, actor=_actor(admin))
        _say(f"{account.login} is {account.state}.")
        return [*self._view(admin, account.login), _switch(account)]

    def _view(self, admin: Person, login: str | None, link: Any = None) -> list[Any]:
        """The table, the choice with ``login`` chosen, and the link, if there is a new one."""
        accounts = self._manage.list(actor=_actor(admin))
        logins = [account.login for account in accounts]
        chosen = login if login in logins else None
        choice = gr.Dropdown(choices=logins, value=chosen)
        rows = table(_COLUMNS, map(_row, accounts), text_columns=range(len(_COLUMNS)))
        return [rows, choice, link or _no_link()]

    def _find(self, admin: Person, login: str | None) -> Account:
        key = login_key(login or "")
        for account in self._manage.list(actor=_actor(admin)):
            if login_key(account.login) == key:
                return account
        raise InvalidInput("Choose an account first.")

    def _link(self, login: str, token: str) -> Any:
        label = f"The link for {login}. It is shown once and good once: send it to nobody else."
        return gr.Textbox(value=self._welcome_url(token), label=label, visible=True)


def _row(account: Account) -> list[str | Cell]:
    last = account.signed_in_at
    return [
        account.login,
        account.name,
        whole(account.pseudonym),
        ", ".join(role_names(account.roles)),
        whole(account.state),
        whole(last[:16].replace("T", " ") if last else "never"),
    ]


def _say(text: str) -> None:
    gr.Info(escape(text), duration=_TOAST_SECONDS)


def _switch(account: Account) -> Any:
    return gr.Button("Enable" if account.disabled else "Disable")


def _no_link() -> Any:
    return gr.Textbox(value="", visible=False)


def _roles(names: list[str]) -> list[Role]:
    return [Role(name) for name in names if name in _ROLES]


def _actor(admin: Person) -> Actor:
    return admin.acting(Permission.MANAGE_PEOPLE)

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from loop.access import Permission, Person
from loop.api_keys import Scope
from loop.errors import InvalidInput, NotAllowed
from loop.events import Authentication, Role
from tests.people import ADMIN
from tests.ui.entrance import Entrance
from ui.api_keys import KeyActs, build_api_keys
from ui.guard import GUARDED, guard


@pytest.fixture
def entrance(tmp_path: Path) -> Entrance:
    entrance = Entrance(tmp_path)
    entrance.house.add("ana", Role.ADMIN)
    entrance.house.add("ben", Role.REVIEWER)
    return entrance


def person(entrance: Entrance, login: str) -> Person:
    accounts = entrance.house.database.tables.accounts.values()
    return next(
        account.person(Authentication.PASSWORD) for account in accounts if account.login == login
    )


def test_every_handler_is_behind_the_permission(entrance: Entrance) -> None:
    with gr.Blocks() as page:
        build_api_keys(guard, entrance.people.api_keys)
    handlers = [function.fn for function in page.fns.values()]
    assert len(handlers) == 2
    for handler in handlers:
        assert getattr(handler, GUARDED) is Permission.MANAGE_PEOPLE
    assert all(function.api_visibility == "private" for function in page.fns.values())


def test_the_acts_themselves_ask_who_asks(entrance: Entrance) -> None:
    acts, ben = KeyActs(entrance.people.api_keys), person(entrance, "ben")
    key, _ = entrance.people.api_keys.create("scanner", [Scope.DETECT], actor=ADMIN)
    for attempt in (lambda: acts.look(ben), lambda: acts.revoke(ben, key.id)):
        with pytest.raises(NotAllowed):
            attempt()


def test_keys_are_shown_without_secrets_and_without_markup(entrance: Entrance) -> None:
    manage = entrance.people.api_keys
    key, text = manage.create("<b>scanner</b>", [Scope.DETECT], owner="ben", actor=ADMIN)
    shown, choice = KeyActs(manage).look(person(entrance, "ana"))
    assert key.id in shown
    assert "ben" in shown
    assert "<b>" not in shown
    assert text not in shown
    assert [value for _, value in choice.choices] == [key.id]


def test_a_revoked_key_can_be_seen_and_not_chosen(entrance: Entrance) -> None:
    manage = entrance.people.api_keys
    acts, ana = KeyActs(manage), person(entrance, "ana")
    key, _ = manage.create("scanner", [Scope.DETECT], actor=ADMIN)
    shown, choice = acts.revoke(ana, key.id)
    assert "revoked" in shown
    assert choice.choices == []
    (event,) = entrance.house.events("api_key.revoked")
    assert event.actor == ana.acting(Permission.MANAGE_PEOPLE)
    with pytest.raises(InvalidInput):
        acts.revoke(ana, None)

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from loop.access import Permission, Person
from loop.errors import Conflict, InvalidInput, NotAllowed
from loop.events import Authentication, Role
from tests.people import PASSWORD
from tests.ui.entrance import Entrance
from ui.guard import GUARDED, guard
from ui.people import _Acts, build_people


@pytest.fixture
def entrance(tmp_path: Path) -> Entrance:
    entrance = Entrance(tmp_path)
    entrance.house.add("ana", Role.ADMIN)
    entrance.house.add("ben", Role.REVIEWER)
    return entrance


@pytest.fixture
def acts(entrance: Entrance) -> _Acts:
    return _Acts(entrance.people.manage, entrance.people.welcome_url)


def person(entrance: Entrance, login: str = "ana") -> Person:
    accounts = entrance.house.database.tables.accounts.values()
    return next(
        account.person(Authentication.PASSWORD) for account in accounts if account.login == login
    )


def link_in(shown: Any) -> str:
    """The address in the link's field; empty while there is none to see."""
    return str(shown.value) if shown.visible else ""


def test_every_handler_is_behind_the_permission(entrance: Entrance) -> None:
    with gr.Blocks() as page:
        build_people(guard, entrance.people)
    handlers = [function.fn for function in page.fns.values()]
    assert len(handlers) == 6
    for handler in handlers:
        assert getattr(handler, GUARDED) is Permission.MANAGE_PEOPLE
    assert all(function.api_visibility == "private" for function in page.fns.values())


def test_the_acts_themselves_ask_who_asks(entrance: Entrance, acts: _Acts) -> None:
    ben = person(entrance, "ben")
    for attempt in (
        lambda: acts.look(ben, None),
        lambda: acts.choose(ben, "ana"),
        lambda: acts.invite(ben, "eve", "Eve", ["admin"]),
        lambda: acts.save_roles(ben, "ben", ["admin"]),
        lambda: acts.new_link(ben, "ana"),
        lambda: acts.switch(ben, "ana"),
    ):
        with pytest.raises(NotAllowed):
            attempt()


def test_the_table_shows_everybody_and_no_link(entrance: Entrance, acts: _Acts) -> None:
    table, choice, link = acts.look(person(entrance), "ben")
    for login in ("ana", "ben"):
        assert login in table
        assert person(entrance, login).pseudonym in table
    assert [value for _, value in choice.choices] == ["ana", "ben"]
    assert choice.value == "ben"
    assert link_in(link) == ""


def test_names_stay_text(entrance: Entrance, acts: _Acts) -> None:
    acts.invite(person(entrance), "eve", "<img src=x onerror=alert(1)>", ["reviewer"])
    table, *_ = acts.look(person(entrance), None)
    assert "<img" not in table


def test_an_invitation_shows_a_link_that_works(entrance: Entrance, acts: _Acts) -> None:
    _, _, link, login, name = acts.invite(person(entrance), "eva", "Eva", ["auditor"])
    assert (login, name) == ("", "")
    address = link_in(link)
    assert address.startswith("http://127.0.0.1:7860/welcome?token=")
    people = entrance.people
    token = people.welcome(address.partition("token=")[2], "", "", PASSWORD)
    invited = people.person(token)
    assert invited is not None
    assert invited.roles == {Role.AUDITOR}
    made = entrance.house.events("account.created")[-1]
    assert made.actor.pseudonym == person(entrance).pseudonym
    assert made.actor.role is Role.ADMIN


def test_choosing_somebody_shows_their_roles_and_hides_the_link(
    entrance: Entrance, acts: _Acts
) -> None:
    _, roles, switch, link = acts.choose(person(entrance), "ben")
    assert roles == ["reviewer"]
    assert switch.value == "Disable"
    assert link_in(link) == ""
    acts.switch(person(entrance), "ben")
    assert acts.choose(person(entrance), "ben")[2].value == "Enable"


def test_roles_are_saved_and_those_of_machines_left_out(entrance: Entrance, acts: _Acts) -> None:
    acts.save_roles(person(entrance), "ben", ["engineer", "system", "pilot"])
    assert person(entrance, "ben").roles == {Role.ENGINEER}
    with pytest.raises(InvalidInput):
        acts.save_roles(person(entrance), "ben", ["system"])


def test_the_last_admin_stays_one(entrance: Entrance, acts: _Acts) -> None:
    with pytest.raises(Conflict):
        acts.switch(person(entrance), "ana")
    with pytest.raises(Conflict):
        acts.save_roles(person(entrance), "ana", ["reviewer"])


def test_a_new_link_is_for_whoever_was_chosen(entrance: Entrance, acts: _Acts) -> None:
    session = entrance.house.sign_in("ben")
    _, _, link = acts.new_link(person(entrance), "ben")
    assert entrance.people.person(session) is None
    account = entrance.people.invited(link_in(link).partition("token=")[2])
    assert account is not None
    assert account.login == "ben"


@pytest.mark.parametrize("login", [None, "", "nobody"])
def test_nobody_chosen_is_said(entrance: Entrance, acts: _Acts, login: str | None) -> None:
    for act in (acts.choose, acts.new_link, acts.switch):
        with pytest.raises(InvalidInput, match="Choose"):
            act(person(entrance), login)

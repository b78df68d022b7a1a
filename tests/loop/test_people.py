from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loop.errors import Conflict, InvalidInput, NotAllowed, NotFound, SignInRefused
from loop.events import Actor, Role
from tests.people import ADMIN, PASSWORD, House, identity


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_only_admins_manage_people(role: Role) -> None:
    house = House()
    house.add()
    actor, manage = Actor("x", role), house.manage
    attempts: list[Callable[[], Any]] = [
        lambda: manage.list(actor=actor),
        lambda: manage.invite("ben", "Ben", {Role.ADMIN}, actor=actor),
        lambda: manage.add("ben", "Ben", {Role.ADMIN}, PASSWORD, actor=actor),
        lambda: manage.new_link("ana", actor=actor),
        lambda: manage.change_roles("ana", {Role.ADMIN}, actor=actor),
        lambda: manage.disable("ana", actor=actor),
        lambda: manage.enable("ana", actor=actor),
    ]
    before = house.database.tables
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            attempt()
    assert house.database.tables == before


def test_everybody_is_listed_by_login() -> None:
    house = House()
    for login in ("Ben", "ana", "Eva"):
        house.add(login)
    logins = [account.login for account in house.manage.list(actor=ADMIN)]
    assert logins == ["ana", "Ben", "Eva"]


def test_a_login_is_given_once() -> None:
    house = House()
    house.add("ana")
    with pytest.raises(Conflict):
        house.add("ANA")
    with pytest.raises(Conflict):
        house.manage.invite("Ana", "Ana", {Role.REVIEWER}, actor=ADMIN)


def test_who_was_added_is_on_record_by_pseudonym_only() -> None:
    house = House()
    ana = house.manage.add("anna.example", "Anna Example", {Role.REVIEWER}, PASSWORD, actor=ADMIN)
    house.manage.new_link("anna.example", actor=ADMIN)
    house.manage.change_roles("anna.example", {Role.AUDITOR}, actor=ADMIN)
    house.manage.disable("anna.example", actor=ADMIN)
    house.manage.enable("anna.example", actor=ADMIN)
    events = house.database.events
    assert [event.type for event in events] == [
        "account.created",
        "account.password_set",
        "invitation.created",
        "account.changed",
        "account.disabled",
        "account.enabled",
    ]
    assert all(event.subject == {"person": ana.pseudonym} for event in events)
    assert all(event.actor == ADMIN for event in events)
    assert "nna" not in "".join(event.canonical().decode() for event in events)


def test_a_password_that_cannot_be_makes_no_account() -> None:
    house = House()
    with pytest.raises(InvalidInput):
        house.manage.add("ana", "Ana", {Role.REVIEWER}, "short", actor=ADMIN)
    assert not house.database.tables.accounts


def test_a_new_link_ends_the_sessions_and_the_password() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    before = house.manage.new_link("ana", actor=ADMIN)
    assert house.sessions.person(token) is None
    with pytest.raises(SignInRefused):
        house.sign_in()
    link = house.manage.new_link("ana", actor=ADMIN)
    with pytest.raises(SignInRefused):
        house.welcome(before, "", "", PASSWORD)
    house.welcome(link, "", "", PASSWORD)


def test_a_new_link_is_only_for_who_may_come_in_with_a_password() -> None:
    house = House()
    house.add("ana")
    house.manage.disable("ana", actor=ADMIN)
    house.identities(identity("1", Role.REVIEWER, login="ben"))
    for login in ("ana", "ben"):
        with pytest.raises(Conflict):
            house.manage.new_link(login, actor=ADMIN)


def test_the_last_admin_stays_one() -> None:
    house = House()
    house.add("ana", Role.ADMIN)
    house.add("ben", Role.ADMIN)
    house.manage.disable("ben", actor=ADMIN)
    with pytest.raises(Conflict, match="last admin"):
        house.manage.disable("ana", actor=ADMIN)
    with pytest.raises(Conflict, match="last admin"):
        house.manage.change_roles("ana", {Role.REVIEWER}, actor=ADMIN)
    house.manage.change_roles("ana", {Role.REVIEWER, Role.ADMIN}, actor=ADMIN)
    house.manage.enable("ben", actor=ADMIN)
    house.manage.disable("ana", actor=ADMIN)


def test_where_there_is_no_admin_anybody_may_be_disabled() -> None:
    house = House()
    house.add("ana", Role.REVIEWER)
    house.manage.disable("ana", actor=ADMIN)


def test_a_change_that_changes_nothing_is_no_event() -> None:
    house = House()
    house.add("ana", Role.REVIEWER)
    before = list(house.database.events)
    house.manage.enable("ana", actor=ADMIN)
    house.manage.change_roles("ana", {Role.REVIEWER}, actor=ADMIN)
    assert house.database.events == before


def test_a_login_that_nobody_has_is_not_found() -> None:
    with pytest.raises(NotFound):
        House().manage.disable("nobody", actor=ADMIN)

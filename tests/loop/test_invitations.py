from __future__ import annotations

import pytest

from loop.accounts import ASSIGNABLE_ROLES
from loop.errors import InvalidInput, SignInRefused
from loop.events import Actor, Role
from tests.people import ADMIN, PASSWORD, House

OPERATOR = Actor("operator", Role.SYSTEM)


def first_link(house: House) -> str:
    link = house.invitations.first_admin(OPERATOR)
    assert link is not None
    return link


def void(house: House, link: str) -> None:
    with pytest.raises(SignInRefused) as caught:
        house.invitations.look(link)
    assert caught.value.detail_code == "link_void"
    with pytest.raises(SignInRefused):
        house.welcome(link, "eve", "Eve", PASSWORD)


def test_the_first_link_makes_somebody_who_may_do_everything() -> None:
    house = House()
    person = house.sessions.person(house.welcome(first_link(house), "ana", "Ana", PASSWORD))
    assert person is not None
    assert person.roles == set(ASSIGNABLE_ROLES)
    house.sign_in("ana")
    kinds = [event.type for event in house.database.events]
    assert kinds[:5] == [
        "invitation.created",
        "account.created",
        "invitation.used",
        "account.password_set",
        "session.started",
    ]


def test_a_link_works_once() -> None:
    house = House()
    link = first_link(house)
    house.welcome(link, "ana", "Ana", PASSWORD)
    void(house, link)
    assert len(house.database.tables.accounts) == 1


def test_looking_at_a_link_uses_nothing_up() -> None:
    house = House()
    link = first_link(house)
    for _ in range(3):
        assert house.invitations.look(link) is None
    house.welcome(link, "ana", "Ana", PASSWORD)


def test_what_cannot_be_leaves_the_link_good() -> None:
    house = House()
    link = first_link(house)
    for login, name, password in (
        ("", "Ana", PASSWORD),
        ("ana", "", PASSWORD),
        ("ana", "Ana", "short"),
    ):
        with pytest.raises(InvalidInput):
            house.welcome(link, login, name, password)
    house.welcome(link, "ana", "Ana", PASSWORD)


def test_each_start_makes_a_new_link_and_voids_the_one_before() -> None:
    house = House()
    before, link = first_link(house), first_link(house)
    void(house, before)
    house.welcome(link, "ana", "Ana", PASSWORD)


def test_there_is_no_first_link_once_there_is_an_account() -> None:
    house = House()
    link = first_link(house)
    house.add("ben")
    void(house, link)
    assert house.invitations.first_admin(OPERATOR) is None


def test_a_link_is_good_for_a_day() -> None:
    house = House()
    link = first_link(house)
    house.wait(hours=24)
    void(house, link)


def test_a_link_that_was_never_made_is_void() -> None:
    void(House(), "made up")


def test_an_invited_person_chooses_the_password_and_nothing_else() -> None:
    house = House()
    link = house.manage.invite("ben", "Ben", {Role.REVIEWER}, actor=ADMIN)
    account = house.invitations.look(link)
    assert account is not None
    assert account.login == "ben"
    person = house.sessions.person(house.welcome(link, "admin", "Admin", PASSWORD))
    assert person is not None
    assert (person.login, person.name, person.roles) == ("ben", "Ben", {Role.REVIEWER})
    house.sign_in("ben")


def test_a_new_password_ends_the_sessions_before_it() -> None:
    house = House()
    house.add("ana")
    link = house.manage.new_link("ana", actor=ADMIN)
    token = house.welcome(link, "", "", "another long sentence")
    assert house.sessions.person(token) is not None
    house.sign_in("ana", "another long sentence")
    with pytest.raises(SignInRefused):
        house.sign_in("ana", PASSWORD)


def test_the_link_of_a_disabled_account_is_void() -> None:
    house = House()
    link = house.manage.invite("ben", "Ben", {Role.REVIEWER}, actor=ADMIN)
    house.manage.disable("ben", actor=ADMIN)
    void(house, link)
    house.manage.enable("ben", actor=ADMIN)
    void(house, link)

from __future__ import annotations

import pytest

from loop.errors import SignInRefused
from loop.events import Role
from loop.identities import Identity
from tests.people import ADMIN, PASSWORD, House, identity


def refused(house: House, who: Identity) -> str:
    with pytest.raises(SignInRefused) as caught:
        house.identities(who)
    return caught.value.detail_code


def test_the_first_sign_in_makes_an_account_and_later_ones_find_it() -> None:
    house = House()
    first = house.sessions.person(house.identities(identity("1", Role.REVIEWER)))
    again = house.sessions.person(house.identities(identity("1", Role.REVIEWER)))
    assert first is not None
    assert first == again
    assert (first.login, first.name, first.roles) == ("ana", "Ana", {Role.REVIEWER})
    assert len(house.events("account.created")) == 1
    assert len(house.events("session.started")) == 2


def test_nobody_becomes_somebody_else_by_choosing_their_login() -> None:
    house = House()
    ana = house.add("ana", Role.ADMIN)
    for subject, login in (("1", "ana-2"), ("2", "ana-3")):
        person = house.sessions.person(house.identities(identity(subject, Role.REVIEWER)))
        assert person is not None
        assert person.account_id != ana.id
        assert person.login == login
        assert person.roles == {Role.REVIEWER}


def test_a_login_of_full_length_leaves_room_for_a_number() -> None:
    house = House()
    for subject in ("1", "2"):
        house.identities(identity(subject, Role.REVIEWER, login="a" * 64))


def test_roles_are_what_the_provider_says_each_time() -> None:
    house = House()
    house.identities(identity("1", Role.ADMIN, Role.REVIEWER))
    person = house.sessions.person(house.identities(identity("1", Role.AUDITOR)))
    assert person is not None
    assert person.roles == {Role.AUDITOR}
    assert house.events("account.changed")[0].details["roles"] == ["auditor"]


def test_roles_that_are_given_here_are_left_alone() -> None:
    house = House(default_role=Role.REVIEWER)
    house.identities(identity("1", asked=False))
    house.manage.change_roles("ana", {Role.ADJUDICATOR}, actor=ADMIN)
    person = house.sessions.person(house.identities(identity("1", asked=False)))
    assert person is not None
    assert person.roles == {Role.ADJUDICATOR}


def test_who_has_no_role_is_refused_and_loses_what_sessions_there_are() -> None:
    house = House()
    token = house.identities(identity("1", Role.REVIEWER))
    assert refused(house, identity("1")) == "no_role"
    assert house.sessions.person(token) is None
    assert refused(house, identity("2", login="eve")) == "no_role"
    assert len(house.database.tables.accounts) == 1
    event = house.events("session.refused")[-1]
    assert event.details["why"] == "no_role"
    assert "eve" not in event.canonical().decode()


def test_a_default_role_is_for_whom_the_provider_gives_none() -> None:
    house = House(default_role=Role.REVIEWER)
    person = house.sessions.person(house.identities(identity("1")))
    assert person is not None
    assert person.roles == {Role.REVIEWER}


def test_a_disabled_account_stays_out() -> None:
    house = House()
    token = house.identities(identity("1", Role.REVIEWER))
    house.manage.disable("ana", actor=ADMIN)
    assert refused(house, identity("1", Role.REVIEWER)) == "disabled"
    assert house.sessions.person(token) is None


def test_such_an_account_has_no_password() -> None:
    house = House()
    house.identities(identity("1", Role.REVIEWER))
    with pytest.raises(SignInRefused):
        house.sign_in("ana", PASSWORD)


def test_a_failure_before_there_is_a_name_is_on_record() -> None:
    house = House()
    house.identities.turn_away("state")
    assert house.events("session.refused")[0].details == {"why": "state", "by": "oidc"}

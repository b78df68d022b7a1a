from __future__ import annotations

from contextlib import AbstractContextManager

from loop.accounts import stamp
from loop.errors import Unavailable
from loop.events import Authentication, Role
from loop.ports import UnitOfWork
from loop.sessions import Sessions, token_sha256
from tests.people import ADMIN, SETTINGS, House


def test_a_session_is_whose_it_is_until_it_is_ended() -> None:
    house = House()
    ana = house.add()
    token = house.sign_in()
    assert house.sessions.person(token) == ana.person(Authentication.PASSWORD)
    house.sessions.end(token)
    assert house.sessions.person(token) is None
    assert [event.subject for event in house.events("session.ended")] == [{"person": ana.pseudonym}]


def test_only_the_digest_of_a_token_is_kept() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    assert list(house.database.tables.sessions) == [token_sha256(token)]
    assert token not in repr(house.database.tables)
    assert house.sessions.person(token_sha256(token)) is None


def test_nobody_has_a_token_that_was_never_given() -> None:
    house = House()
    house.add()
    assert house.sessions.person("never given") is None
    house.sessions.end("never given")
    assert not house.events("session.ended")


def test_a_session_ends_when_nobody_uses_it() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    house.wait(hours=11, minutes=59)
    assert house.sessions.person(token) is not None
    house.wait(hours=11, minutes=59)  # since then
    assert house.sessions.person(token) is not None
    house.wait(hours=12)
    assert house.sessions.person(token) is None


def test_a_session_ends_in_the_end_however_busy() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    for _ in range(7 * 24 - 1):
        house.wait(hours=1)
        assert house.sessions.person(token) is not None
    house.wait(hours=1)
    assert house.sessions.person(token) is None


def test_use_is_noted_once_a_minute() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    started = stamp(house.now)
    house.wait(seconds=59)
    house.sessions.person(token)
    assert house.database.tables.sessions[token_sha256(token)].seen_at == started
    house.wait(seconds=1)
    house.sessions.person(token)
    assert house.database.tables.sessions[token_sha256(token)].seen_at == stamp(house.now)


def test_who_is_signed_in_comes_in_although_the_use_cannot_be_noted() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    house.wait(hours=1)
    asked = 0

    def units() -> AbstractContextManager[UnitOfWork]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Unavailable("The disk is full.")
        return house.units()

    assert Sessions(units, SETTINGS, house.clock).person(token) is not None
    assert asked == 2


def test_a_change_of_roles_counts_at_once() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    house.manage.change_roles("ana", {Role.AUDITOR}, actor=ADMIN)
    person = house.sessions.person(token)
    assert person is not None
    assert person.roles == {Role.AUDITOR}


def test_disabling_an_account_ends_its_sessions_for_good() -> None:
    house = House()
    house.add()
    token = house.sign_in()
    house.manage.disable("ana", actor=ADMIN)
    assert house.sessions.person(token) is None
    house.manage.enable("ana", actor=ADMIN)
    assert house.sessions.person(token) is None


def test_sessions_that_are_over_are_forgotten_at_the_next_sign_in() -> None:
    house = House()
    house.add()
    house.sign_in()
    house.wait(days=8)
    token = house.sign_in()
    assert list(house.database.tables.sessions) == [token_sha256(token)]

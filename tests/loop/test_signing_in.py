from __future__ import annotations

import pytest

from loop.accounts import LONGEST_PASSWORD
from loop.errors import LoopError, SignInRefused
from loop.events import Authentication, Outcome
from tests.fakes import FakePasswords
from tests.people import ADMIN, PASSWORD, House, digest


def refused(house: House, login: str = "ana", typed: str = "wrong wrong wrong") -> LoopError:
    with pytest.raises(SignInRefused) as caught:
        house.sign_in(login, typed)
    return caught.value


def test_the_right_password_begins_a_session_on_the_record() -> None:
    house = House()
    ana = house.add()
    assert house.sessions.person(house.sign_in(" ANA ")) is not None
    started = house.events("session.started")[0]
    assert started.subject == {"person": ana.pseudonym}
    assert started.actor == ana.actor(Authentication.PASSWORD)
    assert started.actor.authenticated_by is Authentication.PASSWORD
    kept = house.database.tables.accounts[ana.id]
    assert kept.signed_in_at is not None


def test_every_refusal_reads_the_same() -> None:
    house = House()
    house.add("ana")
    house.add("ben")
    house.manage.disable("ben", actor=ADMIN)
    house.manage.invite("eva", "Eva", {ADMIN.role}, actor=ADMIN)
    answers = {
        str(error.as_dict())
        for error in (
            refused(house),
            refused(house, "nobody"),
            refused(house, "ben", PASSWORD),
            refused(house, "eva", PASSWORD),
            refused(house, "", ""),
            refused(house, "ana", "x" * (LONGEST_PASSWORD + 1)),
        )
    }
    assert len(answers) == 1
    assert not house.events("session.started")


def test_a_login_that_nobody_has_costs_as_much_work() -> None:
    house = House()
    ana = house.add()
    refused(house, "nobody")
    refused(house, "ana")
    assert house.hasher.verified == [None, ana.password_hash]


def test_refusals_are_on_record_without_the_login() -> None:
    house = House()
    ana = house.add()
    refused(house, "ana")
    refused(house, "Nobody")
    known, unknown = house.events("session.refused")
    assert known.subject == {"person": ana.pseudonym}
    assert known.outcome is Outcome.REFUSED
    assert unknown.subject == {"login_digest": digest("nobody")}
    assert "nobody" not in unknown.canonical().decode().lower()


@pytest.mark.parametrize("login", ["ana", "nobody"])
def test_five_failures_in_a_row_lock_a_login_for_a_quarter_of_an_hour(login: str) -> None:
    house = House()
    house.add("ana")
    for _ in range(4):
        refused(house, login)
    assert not house.events("account.locked")
    refused(house, login)
    assert len(house.events("account.locked")) == 1
    refused(house, login, PASSWORD)
    assert house.events("session.refused")[-1].details["why"] == "locked"
    house.wait(minutes=14, seconds=59)
    refused(house, login, PASSWORD)
    house.wait(seconds=1)
    if login == "ana":
        house.sign_in()


def test_guesses_while_a_login_is_locked_do_not_keep_it_locked() -> None:
    house = House()
    house.add()
    for _ in range(5):
        refused(house)
    house.wait(minutes=10)
    for _ in range(10):
        refused(house)
    house.wait(minutes=5)
    house.sign_in()


def test_a_lock_is_for_one_login() -> None:
    house = House()
    house.add("ana")
    house.add("ben")
    for _ in range(5):
        refused(house, "ana")
    house.sign_in("ben")


def test_a_sign_in_in_between_starts_the_count_again() -> None:
    house = House()
    house.add()
    for _ in range(3):
        for _ in range(4):
            refused(house)
        house.sign_in()


def test_failures_of_long_ago_do_not_count_and_are_not_kept() -> None:
    house = House()
    house.add()
    for _ in range(4):
        refused(house)
        refused(house, "nobody")
    house.wait(minutes=16)
    refused(house)
    house.sign_in()
    assert not house.database.tables.sign_in_failures


def test_a_hash_that_is_out_of_date_is_made_anew() -> None:
    house = House()
    ana = house.add()
    house.hasher.method = "better"
    house.sign_in()
    kept = house.database.tables.accounts[ana.id]
    assert kept.password_hash == FakePasswords("better").hash(PASSWORD)
    house.sign_in()


def test_a_password_changed_meanwhile_lets_nobody_in_with_the_old_one() -> None:
    house = House()
    house.add()

    class Changing(FakePasswords):
        def verify(self, hashed: str | None, password: str) -> bool:
            house.manage.new_link("ana", actor=ADMIN)
            return True

    house.signing_in._hasher = Changing()
    refused(house, "ana", PASSWORD)


def test_a_password_is_the_same_however_the_keyboard_composes_it() -> None:
    house = House()
    house.manage.add("ana", "Ana", {ADMIN.role}, "gr\u00fc\u00dfe aus k\u00f6ln", actor=ADMIN)
    house.sign_in("ana", "gru\u0308\u00dfe aus ko\u0308ln")

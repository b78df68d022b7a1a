"""What `loop.ports` promises of people: on SQLite, on PostgreSQL, and by the fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from loop.access import Permission
from loop.accounts import Account, Failures, Invitation, Session, stamp
from loop.errors import Conflict, LoopError, NotFound, SignInRefused
from loop.events import Actor, Authentication, Event, Role
from loop.ports import UnitOfWork, UnitsOfWork
from loop.sessions import token_sha256
from store.database import open_engine
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests.fakes import FakeDatabase
from tests.people import ADMIN, PASSWORD, House

EVENT = Event("test.happened", Actor("ana", Role.ADMIN), {})
ANA = replace(
    Account.new("Ana", "Ana María", {Role.REVIEWER, Role.ADMIN}, password_hash="$argon2id$…"),
    signed_in_at="2026-01-01T00:00:00.000000Z",
)
EVA = Account.new("eva", "Eva", {Role.AUDITOR}, issuer="https://id.test", subject="1")


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00.000000Z"


def session(number: int = 0, of: Account = ANA, seen: int = 0, ends: int = 30) -> Session:
    return Session(f"{number:064}", of.id, Authentication.PASSWORD, at(0), at(seen), at(ends))


def invitation(number: int = 0, of: Account | None = ANA, expires: int = 30) -> Invitation:
    return Invitation(f"{number:064}", of.id if of else None, "admin", at(0), at(expires))


def keep(units: UnitsOfWork, *changes: Callable[[UnitOfWork], object]) -> None:
    with units() as uow:
        for change in changes:
            change(uow)
        uow.record(EVENT)
        uow.commit()


@pytest.fixture
def sql_units(engine: Engine) -> UnitsOfWork:
    return units_of_work(engine)


@pytest.fixture(params=["fake", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UnitsOfWork]:
    if request.param == "fake":
        units: UnitsOfWork = FakeDatabase().units
    elif request.param == "sqlite":
        units = open_units_of_work(Settings(home=tmp_path, database_url=""))
    else:
        make = request.getfixturevalue("postgres")
        engine = open_engine(make(request.getfixturevalue("migrated_postgres")))
        request.addfinalizer(engine.dispose)
        units = units_of_work(engine)
    keep(units, lambda uow: uow.accounts.add(ANA), lambda uow: uow.accounts.add(EVA))
    yield units


def test_an_account_comes_back_as_it_was(units: UnitsOfWork) -> None:
    with units() as uow:
        for account in (ANA, EVA):
            assert uow.accounts.get(account.id) == account
        assert uow.accounts.find("ana") == ANA
        assert uow.accounts.find("Ana") is None  # keys are compared as they are
        assert uow.accounts.of_subject("https://id.test", "1") == EVA
        assert uow.accounts.of_subject("https://other.test", "1") is None
        assert uow.accounts.list() == [ANA, EVA]
        assert uow.accounts.count() == 2
        with pytest.raises(NotFound):
            uow.accounts.get("nobody")


@pytest.mark.parametrize(
    "account",
    [
        Account.new("ANA", "Another", {Role.REVIEWER}),
        Account.new("other", "O", {Role.REVIEWER}, issuer="https://id.test", subject="1"),
    ],
    ids=["login", "subject"],
)
def test_logins_and_subjects_are_somebodys_alone(units: UnitsOfWork, account: Account) -> None:
    with pytest.raises(Conflict):
        keep(units, lambda uow: uow.accounts.add(account))


def test_many_accounts_have_no_provider(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.accounts.add(Account.new("ben", "Ben", {Role.REVIEWER})))
    with units() as uow:
        assert uow.accounts.of_subject("", "") in (None, *uow.accounts.list())
        assert uow.accounts.count() == 3


def test_an_account_changes_as_a_whole(units: UnitsOfWork) -> None:
    changed = ANA.changed(roles={Role.ENGINEER}, disabled=True)
    keep(units, lambda uow: uow.accounts.update(changed))
    with units() as uow:
        assert uow.accounts.get(ANA.id) == changed
        with pytest.raises(NotFound):
            uow.accounts.update(replace(ANA, id="nobody"))


def test_a_session_is_found_with_whose_it_is(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.sessions.add(session()))
    with units() as uow:
        assert uow.sessions.find(session().token_sha256) == (session(), ANA)
        assert uow.sessions.find("0" * 63 + "1") is None


def test_what_a_signed_in_person_does_can_be_recorded(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.sessions.add(session()))
    with units() as uow:
        found = uow.sessions.find(session().token_sha256)
        assert found is not None
        actor = found[1].person(found[0].method).acting(Permission.SEE_PROGRESS)
        uow.record(Event("session.ended", actor, {"person": actor.pseudonym}))


def test_sessions_end_one_by_one_and_all_at_once(units: UnitsOfWork) -> None:
    mine, other, hers = session(1), session(2), session(3, EVA)
    keep(units, *(lambda uow, s=s: uow.sessions.add(s) for s in (mine, other, hers)))
    keep(units, lambda uow: uow.sessions.end(mine.token_sha256))
    keep(units, lambda uow: uow.sessions.end(mine.token_sha256))
    with units() as uow:
        assert uow.sessions.find(mine.token_sha256) is None
        assert uow.sessions.find(other.token_sha256) is not None
    keep(units, lambda uow: uow.sessions.end_all(ANA.id))
    with units() as uow:
        assert uow.sessions.find(other.token_sha256) is None
        assert uow.sessions.find(hers.token_sha256) is not None


def test_use_is_noted_and_what_is_over_forgotten_without_an_event(units: UnitsOfWork) -> None:
    kept, ended, idle = session(1, seen=8), session(2, seen=8, ends=10), session(3)
    keep(units, *(lambda uow, s=s: uow.sessions.add(s) for s in (kept, ended, idle)))
    with units() as uow:
        uow.sessions.note_use(kept.token_sha256, at(9))
        uow.sessions.forget_ended(at(10), at(5))
        uow.commit()
    with units() as uow:
        assert uow.sessions.find(kept.token_sha256) == (replace(kept, seen_at=at(9)), ANA)
        assert uow.sessions.find(ended.token_sha256) is None
        assert uow.sessions.find(idle.token_sha256) is None


def test_a_link_is_used_once_and_in_time(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.invitations.add(invitation()))
    with units() as uow:
        assert uow.invitations.find(invitation().token_sha256) == invitation()
        assert not uow.invitations.use(invitation().token_sha256, at(30))
        assert not uow.invitations.use("0" * 63 + "1", at(1))
        assert uow.invitations.use(invitation().token_sha256, at(1))
        assert not uow.invitations.use(invitation().token_sha256, at(1))
        uow.record(EVENT)
        uow.commit()
    with units() as uow:
        used = uow.invitations.find(invitation().token_sha256)
        assert used == replace(invitation(), used_at=at(1))


def test_links_are_voided_for_one_account_or_for_the_first(units: UnitsOfWork) -> None:
    anas, evas, first = invitation(1), invitation(2, EVA), invitation(3, None)
    used = replace(invitation(4), used_at=at(1))
    links = (anas, evas, first, used)
    keep(units, *(lambda uow, link=link: uow.invitations.add(link) for link in links))
    keep(units, lambda uow: uow.invitations.void(ANA.id, at(2)))
    with units() as uow:
        found = [uow.invitations.find(link.token_sha256) for link in links]
    assert found == [replace(anas, expires_at=at(2)), evas, first, used]
    keep(units, lambda uow: uow.invitations.void(None, at(3)))
    with units() as uow:
        found = [uow.invitations.find(link.token_sha256) for link in links]
    assert found == [
        replace(anas, expires_at=at(2)),
        evas,
        replace(first, expires_at=at(3)),
        used,
    ]


def test_failures_are_counted_without_an_event(units: UnitsOfWork) -> None:
    with units() as uow:
        assert uow.sign_in_failures.take("a" * 64) == Failures("a" * 64)
        uow.sign_in_failures.put(Failures("a" * 64, 1, at(1)))
        uow.sign_in_failures.put(Failures("a" * 64, 2, at(2)))
        uow.sign_in_failures.put(Failures("b" * 64, 0, at(2), at(9)))
        uow.sign_in_failures.put(Failures("c" * 64, 1, at(5)))
        uow.commit()
    with units() as uow:
        assert uow.sign_in_failures.take("a" * 64) == Failures("a" * 64, 2, at(2))
        uow.sign_in_failures.forget_before(at(2), at(8))
        uow.sign_in_failures.forget("c" * 64)
        uow.commit()
    with units() as uow:
        assert uow.sign_in_failures.take("a" * 64) == Failures("a" * 64)
        assert uow.sign_in_failures.take("b" * 64) == Failures("b" * 64, 0, at(2), at(9))
        assert uow.sign_in_failures.take("c" * 64) == Failures("c" * 64)


def test_a_session_that_ends_without_an_event_is_refused(sql_units: UnitsOfWork) -> None:
    keep(
        sql_units,
        lambda uow: uow.accounts.add(ANA),
        lambda uow: uow.sessions.add(session()),
    )
    with sql_units() as uow:
        uow.sessions.end_all(ANA.id)
        with pytest.raises(RuntimeError, match="audit event"):
            uow.commit()


def test_a_session_is_looked_up_in_one_query(engine: Engine) -> None:
    house = House(units_of_work(engine))
    house.add()
    token = house.sign_in()
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *_: statements.append(str(_[2])))
    assert house.sessions.person(token) is not None
    assert len(statements) == 1


def test_guesses_at_once_are_counted_one_by_one(sql_units: UnitsOfWork) -> None:
    house = House(sql_units)
    house.add()
    refused: list[str] = []

    def guess(password: str) -> None:
        try:
            house.sign_in("ana", password)
        except SignInRefused as error:
            refused.append(error.code)

    guesses = [threading.Thread(target=guess, args=(f"guess number {n}",)) for n in range(12)]
    for thread in guesses:
        thread.start()
    for thread in guesses:
        thread.join()
    assert refused == ["sign_in_refused"] * 12
    with pytest.raises(SignInRefused):
        house.sign_in()
    house.wait(minutes=15)
    house.sign_in()


def test_of_many_who_use_a_link_at_once_one_gets_in(sql_units: UnitsOfWork) -> None:
    house = House(sql_units)
    link = house.invitations.first_admin(ADMIN)
    assert link is not None
    let_in: list[str] = []

    def use(number: int) -> None:
        with suppress(LoopError):
            let_in.append(house.welcome(link, f"login-{number}", "Name", PASSWORD))

    users = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    assert len(let_in) == 1
    assert len(house.manage.list(actor=ADMIN)) == 1


def test_the_last_of_two_admins_stays_when_both_are_disabled_at_once(
    sql_units: UnitsOfWork,
) -> None:
    house = House(sql_units)
    for login in ("ana", "ben"):
        house.add(login, Role.ADMIN)
    refused: list[LoopError] = []

    def disable(login: str) -> None:
        try:
            house.manage.disable(login, actor=ADMIN)
        except Conflict as error:
            refused.append(error)

    both = [threading.Thread(target=disable, args=(login,)) for login in ("ana", "ben")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(refused) == 1
    assert sum(account.administers for account in house.manage.list(actor=ADMIN)) == 1


def test_requests_at_once_of_one_session_are_all_let_in(sql_units: UnitsOfWork) -> None:
    house = House(sql_units)
    house.add()
    token = house.sign_in()
    house.wait(minutes=5)
    found: list[object] = []

    def ask() -> None:
        found.append(house.sessions.person(token))

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(found) == 8
    assert None not in found
    with sql_units() as uow:
        noted = uow.sessions.find(token_sha256(token))
    assert noted is not None
    assert noted[0].seen_at == stamp(house.now)

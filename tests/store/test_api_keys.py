"""What `loop.ports` promises of API keys: on SQLite, on PostgreSQL, and by the fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loop.accounts import Account
from loop.api_keys import ApiKey, Scope
from loop.errors import Conflict, LoopError, NotFound
from loop.events import Actor, Event, Role
from loop.keyring import read_keyring
from loop.managing_keys import ManageApiKeys
from loop.ports import UnitOfWork, UnitsOfWork
from store.database import open_engine
from store.own_key import api_headers, ensure_own_key
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests.fakes import FakeDatabase

ADMIN = Actor("operator", Role.ADMIN)
EVENT = Event("test.happened", ADMIN, {})
ANA = Account.new("ana", "Ana", {Role.REVIEWER, Role.ENGINEER}, password_hash="$argon2id$…")
NOON, LATER = "2026-01-01T12:00:00.000000Z", "2026-01-01T13:00:00.000000Z"


def made(
    owner: str | None = None, at: str = NOON, per_minute: int | None = 60, ends: str | None = None
) -> ApiKey:
    scopes = [Scope.QUEUE, Scope.DETECT]
    role = Role.REVIEWER if owner else Role.SYSTEM
    key, _ = ApiKey.new(
        "scanner", owner, role, scopes, per_minute, created_by="x", created_at=at, expires_at=ends
    )
    return key


def keep(units: UnitsOfWork, *changes: Callable[[UnitOfWork], object]) -> None:
    with units() as uow:
        for change in changes:
            change(uow)
        uow.record(EVENT)
        uow.commit()


@pytest.fixture(params=["fake", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> UnitsOfWork:
    if request.param == "fake":
        units: UnitsOfWork = FakeDatabase().units
    elif request.param == "sqlite":
        units = open_units_of_work(Settings(home=tmp_path, database_url=""))
    else:
        make = request.getfixturevalue("postgres")
        engine = open_engine(make(request.getfixturevalue("migrated_postgres")))
        request.addfinalizer(engine.dispose)
        units = units_of_work(engine)
    keep(units, lambda uow: uow.accounts.add(ANA))
    return units


def test_keys_come_back_as_they_were_with_their_owners_oldest_first(units: UnitsOfWork) -> None:
    late, early = made(ANA.id, LATER, ends=LATER), made(per_minute=None)
    keep(units, lambda uow: uow.api_keys.add(late), lambda uow: uow.api_keys.add(early))
    with units() as uow:
        assert uow.api_keys.list() == [(early, None), (late, ANA)]
        assert uow.api_keys.find(late.id) == (late, ANA)
        assert uow.api_keys.find(early.id) == (early, None)
        assert uow.api_keys.find("0" * 16) is None


def test_revoked_keys_can_be_left_out(units: UnitsOfWork) -> None:
    good, bad = made(), replace(made(), revoked_at=LATER)
    keep(units, lambda uow: uow.api_keys.add(good), lambda uow: uow.api_keys.add(made()))
    keep(units, lambda uow: uow.api_keys.add(bad))
    with units() as uow:
        assert len(uow.api_keys.list()) == 3
        assert bad not in [key for key, _ in uow.api_keys.list(revoked=False)]
        assert len(uow.api_keys.list(revoked=False)) == 2


def test_an_id_is_given_once(units: UnitsOfWork) -> None:
    key = made()
    keep(units, lambda uow: uow.api_keys.add(key))
    with pytest.raises(Conflict):
        keep(units, lambda uow: uow.api_keys.add(key))
    with pytest.raises(NotFound):
        keep(units, lambda uow: uow.api_keys.update(made()))


def test_noting_use_needs_no_event_and_revoking_does(units: UnitsOfWork) -> None:
    key = made()
    keep(units, lambda uow: uow.api_keys.add(key))
    with units() as uow:
        uow.api_keys.note_use(key.id, LATER)
        uow.commit()
    with units() as uow:
        found = uow.api_keys.find(key.id)
        assert found is not None
        assert found[0] == replace(key, last_used_at=LATER)
        uow.api_keys.update(replace(key, revoked_at=LATER))
        with pytest.raises(RuntimeError, match="audit event"):
            uow.commit()


def test_the_use_cases_work_on_it(units: UnitsOfWork) -> None:
    manage = ManageApiKeys(units)
    key, text = manage.create("notebook", [Scope.DETECT], owner="ana", actor=ADMIN)
    assert read_keyring(units).check(text, NOON) == key
    disabled = ANA.changed(disabled=True)
    keep(units, lambda uow: uow.accounts.update(disabled))
    with pytest.raises(LoopError, match="suspended"):
        read_keyring(units).check(text, NOON)
    manage.revoke(key.id, actor=ADMIN)
    assert not read_keyring(units).knows(text)


def test_a_home_makes_its_own_key_once_and_anew_when_it_is_no_good(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="")
    units = open_units_of_work(settings)
    assert api_headers(settings) == {}
    ensure_own_key(settings, units)
    headers = api_headers(settings)
    text = headers["authorization"].removeprefix("Bearer ")
    file = tmp_path / "keys" / "api.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert text.encode() not in (tmp_path / "secondlook.db").read_bytes()
    key = read_keyring(units).check(text, NOON)
    assert (key.scopes, key.role, key.per_minute) == (frozenset(Scope), Role.SYSTEM, None)
    ensure_own_key(settings, units)
    assert api_headers(settings) == headers

    ManageApiKeys(units).revoke(key.id, actor=ADMIN)
    ensure_own_key(settings, units)
    again = api_headers(settings)
    assert again != headers
    other = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'other.db'}"})
    ensure_own_key(other, open_units_of_work(other))
    assert api_headers(settings) != again
    file.write_bytes(b"\xff")
    ensure_own_key(settings, units)
    assert file.read_text().startswith("sl_")


def test_a_key_in_the_settings_goes_before_the_homes_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_API_KEY", "sl_other")
    settings = Settings(home=tmp_path, database_url="")
    ensure_own_key(settings, open_units_of_work(settings))
    assert api_headers(settings) == {"authorization": "Bearer sl_other"}
    assert "sl_other" not in repr(settings)

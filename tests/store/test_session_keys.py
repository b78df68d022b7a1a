from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import Misconfigured
from store.session_keys import SessionKeys, open_session_keys
from store.settings import Settings

KEYS = SessionKeys(b"k" * 32)


def test_what_was_signed_is_known_again() -> None:
    assert KEYS.signed(KEYS.sign("token")) == "token"


@given(st.text())
def test_nothing_else_is(value: str) -> None:
    assert KEYS.signed(value) is None
    assert KEYS.signed(f"token.{value}") in (None, "token")
    assert SessionKeys(b"x" * 32).signed(KEYS.sign("token")) is None


@given(st.text())
def test_a_login_stands_as_64_digits_that_another_home_gives_otherwise(login: str) -> None:
    digest = KEYS.login_digest(login)
    assert len(digest) == 64
    assert digest == KEYS.login_digest(login)
    assert digest != SessionKeys(b"x" * 32).login_digest(login)


def test_one_use_of_the_secret_gives_nothing_for_another() -> None:
    assert KEYS.sign("token").partition(".")[2] != KEYS.login_digest("token")
    assert KEYS.provider_secret not in (KEYS.login_digest(""), (b"k" * 32).hex())


def test_a_home_makes_its_key_once_and_keeps_it_from_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    signed = open_session_keys(settings).sign("token")
    assert open_session_keys(settings).signed(signed) == "token"
    file = tmp_path / "keys" / "session.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32


def test_a_setting_stands_in_for_the_homes_key(tmp_path: Path) -> None:
    one = open_session_keys(Settings(home=tmp_path / "a", session_key="k" * 32))
    other = open_session_keys(Settings(home=tmp_path / "b", session_key="k" * 32))
    assert other.signed(one.sign("token")) == "token"
    assert not (tmp_path / "a").exists()
    with pytest.raises(Misconfigured, match="SESSION_KEY"):
        open_session_keys(Settings(home=tmp_path, session_key="short"))

"""Signing in with a password, and what slows down those who guess."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from loop.accounts import (
    LONGEST_PASSWORD,
    Account,
    Failures,
    login_key,
    normal_password,
    stamp,
)
from loop.errors import SignInRefused
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.ports import PasswordHasher, UnitOfWork, UnitsOfWork
from loop.sessions import Clock, Sessions, SignInSettings, utc_now

# Who turns people away and counts: a part of Second Look, since nobody is signed in yet.
DOOR = Actor("sign-in", Role.SYSTEM, Authentication.PROCESS)


class SigningIn:
    """``login_digest`` is a keyed digest. It stands for logins that may be nobody's, or may be a
    password typed into the wrong field."""

    def __init__(
        self,
        units: UnitsOfWork,
        hasher: PasswordHasher,
        sessions: Sessions,
        login_digest: Callable[[str], str],
        settings: SignInSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._units = units
        self._hasher = hasher
        self._sessions = sessions
        self._login_digest = login_digest
        self._settings = settings
        self._clock = clock

    def with_password(self, login: str, password: str) -> str:
        """The token of a new session. Raises `SignInRefused`, the same for every reason.

        Slow by design, and as slow for a login that nobody has: the time tells no more than the
        words do.
        """
        key = login_key(login)
        with self._units() as uow:
            account = uow.accounts.find(key)
        stored = account.password_hash if account else None
        right, rehashed = self._verify(stored, password)
        with self._units() as uow:
            # From here on nobody else counts for this login: of many guesses at once, each is
            # counted before the next one is judged.
            failures = uow.sign_in_failures.take(self._login_digest(key))
            account = uow.accounts.find(key)
            unchanged = account is not None and account.password_hash == stored
            why = self._why_not(account, failures, right=right and unchanged)
            if account is None or why:
                self._turn_away(uow, account, failures, why)
                uow.commit()
                raise _wrong()
            uow.sign_in_failures.forget(failures.login_digest)
            account = replace(account, password_hash=rehashed or account.password_hash)
            token = self._sessions.start(uow, account, Authentication.PASSWORD)
            uow.commit()
        return token

    def _verify(self, stored: str | None, password: str) -> tuple[bool, str | None]:
        """Whether the password is right, and its new hash if the old one is out of date."""
        if len(password) > LONGEST_PASSWORD:
            return False, None
        password = normal_password(password)
        right = self._hasher.verify(stored, password)
        if right and stored is not None and self._hasher.outdated(stored):
            return True, self._hasher.hash(password)
        return right, None

    def _why_not(self, account: Account | None, failures: Failures, *, right: bool) -> str:
        if failures.locked_until > stamp(self._clock()):
            return "locked"
        if account is None:
            return "unknown"
        if not right:
            return "password"
        return "disabled" if account.disabled else ""

    def _turn_away(
        self, uow: UnitOfWork, account: Account | None, failures: Failures, why: str
    ) -> None:
        subject = (
            {"person": account.pseudonym} if account else {"login_digest": failures.login_digest}
        )
        uow.record(refusal(subject, why, Authentication.PASSWORD))
        if why == "locked":
            return
        now = self._clock()
        stale = stamp(now - self._settings.lockout)
        count = 1 if failures.failed_at <= stale else failures.count + 1
        failures = replace(failures, count=count, failed_at=stamp(now))
        if count >= self._settings.attempts:
            until = stamp(now + self._settings.lockout)
            failures = replace(failures, count=0, locked_until=until)
            uow.record(Event("account.locked", DOOR, subject, {"until": until}))
        uow.sign_in_failures.put(failures)
        uow.sign_in_failures.forget_before(stale, stamp(now))


def refusal(subject: Mapping[str, Any], why: str, method: Authentication) -> Event:
    """``why`` is a code, for auditors: whoever is refused does not learn it. ``method`` is what was
    tried."""
    details = {"why": why, "by": method.value}
    nobody = replace(DOOR, authenticated_by=Authentication.NONE)
    return Event("session.refused", nobody, subject, details, Outcome.REFUSED)


def _wrong() -> SignInRefused:
    return SignInRefused(
        "The login or the password is wrong, or the account is locked for a while.",
        hint="Check both. After several failures in a row, wait, or ask an admin for a new link.",
    )

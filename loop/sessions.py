"""Sessions: what a sign-in begins, and every request after it is looked up by."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from loop.access import Person
from loop.accounts import Account, Session, stamp
from loop.errors import LoopError
from loop.events import Authentication, Event
from loop.ports import UnitOfWork, UnitsOfWork

Clock = Callable[[], datetime]
# Between two notes of when a session was last used: each is a write.
_NOTED_EVERY = timedelta(seconds=60)
# 256 bits: nobody guesses one, and their plain SHA-256 may be kept.
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """``attempts`` failures in a row lock a login for ``lockout``. A session ends after ``idle``
    without a request, and after ``lifetime`` in any case. One-time links are good for ``link``."""

    attempts: int = 5
    lockout: timedelta = timedelta(minutes=15)
    idle: timedelta = timedelta(hours=12)
    lifetime: timedelta = timedelta(days=7)
    link: timedelta = timedelta(hours=24)


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Sessions:
    def __init__(
        self, units: UnitsOfWork, settings: SignInSettings, clock: Clock = utc_now
    ) -> None:
        self._units = units
        self._settings = settings
        self._clock = clock

    def person(self, token: str) -> Person | None:
        """Whose session this is, while it lasts: one indexed query, so that a change of roles
        and the end of a session count from the next request on."""
        with self._units() as uow:
            found = uow.sessions.find(token_sha256(token))
        if found is None:
            return None
        session, account = found
        now = self._clock()
        idle_since = stamp(now - self._settings.idle)
        if account.disabled or session.ends_at <= stamp(now) or session.seen_at <= idle_since:
            return None
        if session.seen_at <= stamp(now - _NOTED_EVERY):
            self._note_use(session, stamp(now))
        return account.person(session.method)

    def start(self, uow: UnitOfWork, account: Account, method: Authentication) -> str:
        """Begin a session of ``account`` in ``uow`` and return its token; ``method`` is on record.

        The account is stored as it is given, with the time.
        """
        token, now = new_token(), self._clock()
        at, ends_at = stamp(now), stamp(now + self._settings.lifetime)
        uow.sessions.forget_ended(at, stamp(now - self._settings.idle))
        uow.accounts.update(replace(account, signed_in_at=at))
        uow.sessions.add(Session(token_sha256(token), account.id, method, at, at, ends_at))
        subject = {"person": account.pseudonym}
        actor = account.actor(method)
        uow.record(Event("session.started", actor, subject, {"by": method.value}))
        return token

    def end(self, token: str) -> None:
        """Nothing happens if it has ended already."""
        with self._units() as uow:
            found = uow.sessions.find(token_sha256(token))
            if found is None:
                return
            session, account = found
            uow.sessions.end(session.token_sha256)
            actor = account.actor(session.method)
            uow.record(Event("session.ended", actor, {"person": account.pseudonym}))
            uow.commit()

    def _note_use(self, session: Session, at: str) -> None:
        # A unit of its own, without reads: requests at once would be in conflict over the time.
        # And who may come in does so although the note cannot be made.
        with suppress(LoopError), self._units() as uow:
            uow.sessions.note_use(session.token_sha256, at)
            uow.commit()

"""A house with a door, in memory: everything of `loop` that is about people, and a clock to set."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from loop.accounts import Account
from loop.events import Actor, Event, Role
from loop.identities import Identity, IdentitySignIn
from loop.invitations import Invitations, Welcome
from loop.people import ManagePeople
from loop.ports import UnitsOfWork
from loop.sessions import Sessions, SignInSettings
from loop.signing_in import SigningIn
from tests.fakes import FakeDatabase, FakePasswords

PASSWORD = "a long sentence of mine"
ADMIN = Actor("operator", Role.ADMIN)
SETTINGS = SignInSettings()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class House:
    def __init__(self, units: UnitsOfWork | None = None, default_role: Role | None = None) -> None:
        self.database = FakeDatabase()
        self.units: UnitsOfWork = units or self.database.units
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.hasher = FakePasswords()
        self.sessions = Sessions(self.units, SETTINGS, self.clock)
        self.signing_in = SigningIn(
            self.units, self.hasher, self.sessions, digest, SETTINGS, self.clock
        )
        self.invitations = Invitations(self.units, SETTINGS, self.clock)
        self.welcome = Welcome(self.units, self.hasher, self.sessions, self.invitations, self.clock)
        self.identities = IdentitySignIn(self.units, self.sessions, digest, default_role)
        self.manage = ManagePeople(self.units, self.hasher, self.invitations, self.clock)

    def clock(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def add(self, login: str = "ana", *roles: Role) -> Account:
        roles = roles or (Role.REVIEWER,)
        return self.manage.add(login, login.title(), roles, PASSWORD, actor=ADMIN)

    def sign_in(self, login: str = "ana", password: str = PASSWORD) -> str:
        return self.signing_in.with_password(login, password)

    def events(self, type: str) -> list[Event]:
        return [event for event in self.database.events if event.type == type]


def identity(subject: str = "1", *roles: Role, login: str = "ana", asked: bool = True) -> Identity:
    given = frozenset(roles) if asked else None
    return Identity("https://id.test", subject, login, login.title(), given)

"""Accounts: who may sign in, with which roles, and under which pseudonym they work.

Login and name are personal data: they stay in the account's row and on pages. Everything else,
events first of all, knows a person by the pseudonym, which says nothing about them.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from loop.access import Person
from loop.errors import InvalidInput
from loop.events import Actor, Authentication, Role, new_id

# NIST SP 800-63B-4 wants 15 characters where a password is all there is, OWASP at least 12 with a
# lockout, and both no rules about kinds of characters. The upper end bounds what is hashed.
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
LONGEST_LOGIN = 64
LONGEST_NAME = 100
ASSIGNABLE_ROLES = tuple(role for role in Role if role is not Role.SYSTEM)


@dataclass(frozen=True, slots=True)
class Account:
    """``password_hash`` is None where nobody can sign in with a password; ``issuer`` and
    ``subject`` are empty but for accounts of an OpenID Connect provider. Times are RFC 3339."""

    login: str
    name: str
    roles: frozenset[Role]
    password_hash: str | None = None
    issuer: str = ""
    subject: str = ""
    disabled: bool = False
    signed_in_at: str | None = None
    created_at: str = field(default_factory=lambda: stamp(datetime.now(UTC)))
    id: str = field(default_factory=new_id)
    pseudonym: str = field(default_factory=lambda: f"person-{secrets.token_hex(8)}")

    @classmethod
    def new(
        cls,
        login: str,
        name: str,
        roles: Iterable[Role],
        *,
        password_hash: str | None = None,
        issuer: str = "",
        subject: str = "",
    ) -> Self:
        """Raises `InvalidInput` for a login, a name or roles that cannot be."""
        return cls(
            checked_login(login),
            checked_name(name),
            checked_roles(roles),
            password_hash,
            issuer,
            subject,
        )

    def person(self, method: Authentication) -> Person:
        """Who signed in, by ``method``."""
        return Person(self.id, self.login, self.name, self.pseudonym, self.roles, method)

    def actor(self, method: Authentication) -> Actor:
        """This person in the first of its roles, authenticated by ``method``."""
        return Actor(self.pseudonym, next(role for role in Role if role in self.roles), method)

    @property
    def state(self) -> str:
        """For lists: ``disabled``, ``invited`` (who has no password yet) or ``active``."""
        if self.disabled:
            return "disabled"
        return "active" if self.password_hash or self.issuer else "invited"

    @property
    def administers(self) -> bool:
        return Role.ADMIN in self.roles and not self.disabled

    def changed(self, *, roles: Iterable[Role] | None = None, disabled: bool | None = None) -> Self:
        return replace(
            self,
            roles=self.roles if roles is None else checked_roles(roles),
            disabled=self.disabled if disabled is None else disabled,
        )


def login_key(login: str) -> str:
    """What two logins have in common that are the same to people: letters' case and width."""
    folded = unicodedata.normalize("NFKC", login.strip()).casefold()
    return unicodedata.normalize("NFKC", folded)


def checked_login(login: str) -> str:
    login = unicodedata.normalize("NFKC", login.strip())
    if not 0 < len(login) <= LONGEST_LOGIN:
        raise InvalidInput(f"A login has 1 to {LONGEST_LOGIN} characters.")
    if not login.isprintable() or " " in login:
        raise InvalidInput("A login has no spaces or control characters in it.")
    return login


def checked_name(name: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidInput(
            f"A name has 1 to {LONGEST_NAME} characters.", hint="It is how colleagues see you."
        )
    return name


def checked_roles(roles: Iterable[Role]) -> frozenset[Role]:
    chosen = frozenset(roles)
    if Role.SYSTEM in chosen:
        raise InvalidInput("The role system is for parts of Second Look, not for people.")
    if not chosen:
        raise InvalidInput(
            "An account needs a role.", hint="To keep somebody out, disable the account."
        )
    return chosen


def role_names(roles: Iterable[Role]) -> list[str]:
    """In the order of `Role`, as events carry them."""
    chosen = frozenset(roles)
    return [role.value for role in Role if role in chosen]


def normal_password(password: str) -> str:
    """As it is hashed: the same characters, whichever way the keyboard composed them."""
    return unicodedata.normalize("NFC", password)


def checked_password(password: str, login: str) -> str:
    """The password to hash. Raises `InvalidInput` for one that is too easy to guess."""
    password = normal_password(password)
    if len(password) < SHORTEST_PASSWORD:
        raise InvalidInput(
            f"The password has fewer than {SHORTEST_PASSWORD} characters.",
            hint="A sentence that only you would write is long, and easy to remember.",
        )
    if len(password) > LONGEST_PASSWORD:
        raise InvalidInput(f"The password has more than {LONGEST_PASSWORD} characters.")
    if login_key(password) == login_key(login):
        raise InvalidInput("The password is the login.", hint="Choose one that nobody knows.")
    return password


def stamp(moment: datetime) -> str:
    """RFC 3339, UTC, microseconds: sorts as text, as `loop.events.now` does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in that goes on. Only its token's SHA-256 is kept; ``method`` is how it began."""

    token_sha256: str
    account_id: str
    method: Authentication
    started_at: str
    seen_at: str
    ends_at: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time link. It sets the password of ``account_id``, or makes the first account."""

    token_sha256: str
    account_id: str | None
    created_by: str
    created_at: str
    expires_at: str
    used_at: str | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """How often in a row somebody did not get in with a login, which is known by digest only."""

    login_digest: str
    count: int = 0
    failed_at: str = ""
    locked_until: str = ""

"""Signing in by the word of an OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loop.accounts import LONGEST_LOGIN, Account, login_key, role_names
from loop.errors import SignInRefused
from loop.events import Authentication, Event, Role
from loop.ports import UnitOfWork, UnitsOfWork
from loop.sessions import Sessions
from loop.signing_in import DOOR, refusal

_METHOD = Authentication.OIDC
_REFUSALS = {
    "no_role": (
        "Your organisation has not given you a role in Second Look.",
        "Ask whoever runs its sign-in, or an admin of Second Look.",
    ),
    "disabled": ("This account is disabled.", "Ask an admin of Second Look."),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What the provider says. Only (``issuer``, ``subject``) is ever matched: whoever chooses
    logins or addresses there must not become somebody else here. ``roles`` is None where roles
    are given here and not by the provider."""

    issuer: str
    subject: str
    login: str
    name: str
    roles: frozenset[Role] | None


class IdentitySignIn:
    """``default_role`` is for whom the provider gives none; None keeps them out."""

    def __init__(
        self,
        units: UnitsOfWork,
        sessions: Sessions,
        digest: Callable[[str], str],
        default_role: Role | None,
    ) -> None:
        self._units = units
        self._sessions = sessions
        self._digest = digest
        self._default_roles = frozenset({default_role} if default_role else ())

    def __call__(self, identity: Identity) -> str:
        """The token of a new session; somebody's first sign-in makes the account.

        Raises `SignInRefused` for who has no role here, and for a disabled account. Both end what
        sessions that person still has.
        """
        with self._units() as uow:
            account = uow.accounts.of_subject(identity.issuer, identity.subject)
            roles = self._roles(identity, account)
            why = "disabled" if account and account.disabled else "" if roles else "no_role"
            if why:
                self._turn_away(uow, identity, account, why)
                uow.commit()
                message, hint = _REFUSALS[why]
                raise SignInRefused(message, hint=hint, code=why)
            account = self._kept(uow, identity, account, roles)
            token = self._sessions.start(uow, account, _METHOD)
            uow.commit()
        return token

    def turn_away(self, why: str) -> None:
        """Put on record that a sign-in failed before the provider had named anybody."""
        with self._units() as uow:
            uow.record(refusal({}, why, _METHOD))
            uow.commit()

    def _roles(self, identity: Identity, account: Account | None) -> frozenset[Role]:
        if identity.roles is None and account is not None:
            return account.roles
        return (identity.roles or frozenset()) or self._default_roles

    def _turn_away(
        self, uow: UnitOfWork, identity: Identity, account: Account | None, why: str
    ) -> None:
        if account is None:
            subject = {"login_digest": self._digest(f"{identity.issuer} {identity.subject}")}
        else:
            subject = {"person": account.pseudonym}
            uow.sessions.end_all(account.id)
        uow.record(refusal(subject, why, _METHOD))

    def _kept(
        self,
        uow: UnitOfWork,
        identity: Identity,
        account: Account | None,
        roles: frozenset[Role],
    ) -> Account:
        if account is None:
            account = Account.new(
                _free_login(uow, identity.login),
                identity.name,
                roles,
                issuer=identity.issuer,
                subject=identity.subject,
            )
            uow.accounts.add(account)
            kind = "account.created"
        elif roles != account.roles:
            # The provider's word counts, even for the last admin: the command line needs none.
            account = account.changed(roles=roles)
            kind = "account.changed"
        else:
            return account
        details = {"roles": role_names(roles), "by": _METHOD.value}
        uow.record(Event(kind, DOOR, {"person": account.pseudonym}, details))
        return account


def _free_login(uow: UnitOfWork, wanted: str) -> str:
    """``wanted``, with a number after it if somebody else has it already."""
    login, number = wanted, 1
    while uow.accounts.find(login_key(login)) is not None:
        number += 1
        suffix = f"-{number}"
        login = wanted[: LONGEST_LOGIN - len(suffix)] + suffix
    return login

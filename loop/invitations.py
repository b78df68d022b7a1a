"""One-time links: how the first admin comes in, and how people set a new password."""

from __future__ import annotations

from dataclasses import replace

from loop.accounts import (
    ASSIGNABLE_ROLES,
    Account,
    Invitation,
    checked_password,
    role_names,
    stamp,
)
from loop.errors import SignInRefused
from loop.events import Actor, Authentication, Event
from loop.ports import PasswordHasher, UnitOfWork, UnitsOfWork
from loop.sessions import Clock, Sessions, SignInSettings, new_token, token_sha256, utc_now

_METHOD = Authentication.LINK


class Invitations:
    def __init__(
        self, units: UnitsOfWork, settings: SignInSettings, clock: Clock = utc_now
    ) -> None:
        self._units = units
        self._settings = settings
        self._clock = clock

    def first_admin(self, actor: Actor) -> str | None:
        """The token of a link that makes the first account; None once there is one.

        Earlier such links that were not used are void from then on.
        """
        with self._units() as uow:
            if uow.accounts.count():
                return None
            uow.invitations.void(None, stamp(self._clock()))
            token = self.add(uow, None, actor)
            uow.commit()
        return token

    def add(self, uow: UnitOfWork, account: Account | None, actor: Actor) -> str:
        """The token of a new link, for ``account`` or for the first one."""
        token, now = new_token(), self._clock()
        uow.invitations.add(
            Invitation(
                token_sha256(token),
                account.id if account else None,
                actor.pseudonym,
                stamp(now),
                stamp(now + self._settings.link),
            )
        )
        subject = {"person": account.pseudonym} if account else {}
        details = {"expires_at": stamp(now + self._settings.link), "first_admin": account is None}
        uow.record(Event("invitation.created", actor, subject, details))
        return token

    def look(self, token: str) -> Account | None:
        """Whose password the link sets; None if it makes the first account. Uses nothing up.

        Raises `SignInRefused` for a link that is unknown, used or out of date.
        """
        with self._units() as uow:
            return self._account(uow, token)

    def _account(self, uow: UnitOfWork, token: str) -> Account | None:
        link = uow.invitations.find(token_sha256(token))
        if link is None or link.used_at or link.expires_at <= stamp(self._clock()):
            raise void()
        if link.account_id is None:
            if uow.accounts.count():
                raise void()
            return None
        account = uow.accounts.get(link.account_id)
        if account.disabled:
            raise void()
        return account


class Welcome:
    """What the page behind a link does, once for each link."""

    def __init__(
        self,
        units: UnitsOfWork,
        hasher: PasswordHasher,
        sessions: Sessions,
        invitations: Invitations,
        clock: Clock = utc_now,
    ) -> None:
        self._units = units
        self._hasher = hasher
        self._sessions = sessions
        self._invitations = invitations
        self._clock = clock

    def __call__(self, token: str, login: str, name: str, password: str) -> str:
        """Set the password and sign in: the token of a session. ``login`` and ``name`` are for
        the first account only, which gets every role: one machine begins with one person.

        Raises `SignInRefused` for a link that is used up, `InvalidInput` for what cannot be; the
        link then stays good.
        """
        account = self._invitations.look(token)
        created = account is None
        if account is None:
            account = Account.new(login, name, ASSIGNABLE_ROLES)
        hashed = self._hasher.hash(checked_password(password, account.login))
        with self._units() as uow:
            if not uow.invitations.use(token_sha256(token), stamp(self._clock())):
                raise void()
            account = self._keep(uow, account, hashed, created=created)
            subject = {"person": account.pseudonym}
            actor = account.actor(_METHOD)
            uow.record(Event("invitation.used", actor, subject))
            uow.record(Event("account.password_set", actor, subject))
            session = self._sessions.start(uow, account, _METHOD)
            uow.commit()
        return session

    def _keep(self, uow: UnitOfWork, account: Account, hashed: str, *, created: bool) -> Account:
        # What was read before the password was hashed may have changed: `use` made this the only
        # writer, so that what is read here stays so.
        if not created:
            account = uow.accounts.get(account.id)
            if account.disabled:
                raise void()
            uow.sessions.end_all(account.id)
            return replace(account, password_hash=hashed)
        if uow.accounts.count():
            raise void()
        account = replace(account, password_hash=hashed)
        uow.accounts.add(account)
        details = {"roles": role_names(account.roles), "by": _METHOD.value}
        actor = account.actor(_METHOD)
        uow.record(Event("account.created", actor, {"person": account.pseudonym}, details))
        return account


def void() -> SignInRefused:
    return SignInRefused(
        "This link is no longer good: it was used, is too old, or a newer one was made.",
        hint="Ask an admin for a new one. For the first account, `secondlook up` prints one.",
        code="link_void",
    )

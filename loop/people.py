"""What admins do: who has an account, with which roles, and who no longer comes in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from loop.access import Permission, require
from loop.accounts import Account, checked_password, login_key, role_names, stamp
from loop.errors import Conflict, NotFound
from loop.events import Actor, Event, Role
from loop.invitations import Invitations
from loop.ports import PasswordHasher, UnitOfWork, UnitsOfWork
from loop.sessions import Clock, utc_now


class ManagePeople:
    """Every method raises `NotAllowed` unless ``actor`` may manage people, and those that name a
    login `NotFound` if nobody has it."""

    def __init__(
        self,
        units: UnitsOfWork,
        hasher: PasswordHasher,
        invitations: Invitations,
        clock: Clock = utc_now,
    ) -> None:
        self._units = units
        self._hasher = hasher
        self._invitations = invitations
        self._clock = clock

    def list(self, *, actor: Actor) -> list[Account]:
        """By login."""
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            return uow.accounts.list()

    def invite(self, login: str, name: str, roles: Iterable[Role], *, actor: Actor) -> str:
        """Make an account without a password, and the token of the link that sets one.

        Raises `Conflict` if the login is taken, `InvalidInput` for what cannot be.
        """
        require(actor, Permission.MANAGE_PEOPLE)
        account = Account.new(login, name, roles)
        with self._units() as uow:
            _add(uow, account, actor)
            token = self._invitations.add(uow, account, actor)
            uow.commit()
        return token

    def add(
        self, login: str, name: str, roles: Iterable[Role], password: str, *, actor: Actor
    ) -> Account:
        """Make an account that can sign in at once. Raises as `invite` does."""
        require(actor, Permission.MANAGE_PEOPLE)
        account = Account.new(login, name, roles)
        hashed = self._hasher.hash(checked_password(password, account.login))
        account = replace(account, password_hash=hashed)
        with self._units() as uow:
            _add(uow, account, actor)
            uow.record(Event("account.password_set", actor, {"person": account.pseudonym}))
            uow.commit()
        return account

    def new_link(self, login: str, *, actor: Actor) -> str:
        """The token of a link that sets a new password. The old one, earlier links and all
        sessions end at once: the link is for whoever forgot it, and for when somebody else knows
        it. Raises `Conflict` for a disabled account, and for one that a provider signs in."""
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            account = _get(uow, login)
            if account.disabled:
                raise Conflict(f"The account {account.login} is disabled.", hint="Enable it first.")
            if account.issuer:
                raise Conflict(
                    f"{account.login} signs in by the organisation's own sign-in.",
                    hint="Their password is changed there.",
                )
            uow.accounts.update(replace(account, password_hash=None))
            uow.sessions.end_all(account.id)
            uow.invitations.void(account.id, stamp(self._clock()))
            token = self._invitations.add(uow, account, actor)
            uow.commit()
        return token

    def change_roles(self, login: str, roles: Iterable[Role], *, actor: Actor) -> Account:
        """Raises `Conflict` if nobody would be left to manage people."""
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            before = _get(uow, login)
            account = before.changed(roles=roles)
            if account == before:
                return before
            _keep_an_admin(uow, account)
            uow.accounts.update(account)
            details = {"roles": role_names(account.roles), "before": role_names(before.roles)}
            uow.record(Event("account.changed", actor, {"person": account.pseudonym}, details))
            uow.commit()
        return account

    def disable(self, login: str, *, actor: Actor) -> Account:
        """Nobody comes in with this account from now on. Raises as `change_roles` does."""
        return self._switch(login, actor, disabled=True)

    def enable(self, login: str, *, actor: Actor) -> Account:
        return self._switch(login, actor, disabled=False)

    def _switch(self, login: str, actor: Actor, *, disabled: bool) -> Account:
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            before = _get(uow, login)
            account = before.changed(disabled=disabled)
            if account == before:
                return before
            _keep_an_admin(uow, account)
            uow.accounts.update(account)
            if disabled:
                uow.sessions.end_all(account.id)
                uow.invitations.void(account.id, stamp(self._clock()))
            kind = "account.disabled" if disabled else "account.enabled"
            uow.record(Event(kind, actor, {"person": account.pseudonym}))
            uow.commit()
        return account


def _add(uow: UnitOfWork, account: Account, actor: Actor) -> None:
    if uow.accounts.find(login_key(account.login)) is not None:
        raise Conflict(
            f"There is an account {account.login} already.",
            hint="For a new password: secondlook users token LOGIN.",
        )
    uow.accounts.add(account)
    details = {"roles": role_names(account.roles)}
    uow.record(Event("account.created", actor, {"person": account.pseudonym}, details))


def _get(uow: UnitOfWork, login: str) -> Account:
    account = uow.accounts.find(login_key(login))
    if account is None:
        raise NotFound(f"Nobody has the login {login}.", hint="secondlook users list shows all.")
    return account


def _keep_an_admin(uow: UnitOfWork, changed: Account) -> None:
    """Raise `Conflict` if ``changed`` leaves no admin where there was one."""
    others = [account for account in uow.accounts.list() if account.id != changed.id]
    was = next(account for account in uow.accounts.list() if account.id == changed.id)
    if was.administers and not any(account.administers for account in [*others, changed]):
        raise Conflict(
            "This is the last admin who can come in.", hint="Make somebody else an admin first."
        )

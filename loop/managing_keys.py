"""What admins do with API keys: make, list and revoke them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from loop.access import Permission, require
from loop.accounts import Account, login_key, stamp
from loop.api_keys import ApiKey, Scope, scope_names, scopes_of
from loop.errors import Conflict, InvalidInput, NotFound
from loop.events import Actor, Event, Role
from loop.ports import UnitOfWork, UnitsOfWork
from loop.sessions import Clock, utc_now


class ManageApiKeys:
    """Every method raises `NotAllowed` unless ``actor`` may manage people."""

    def __init__(self, units: UnitsOfWork, clock: Clock = utc_now) -> None:
        self._units = units
        self._clock = clock

    def list(self, *, actor: Actor) -> list[tuple[ApiKey, Account | None]]:
        """All that there ever were, with their owners, oldest first."""
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            return uow.api_keys.list()

    def create(
        self,
        label: str,
        scopes: Iterable[Scope],
        *,
        actor: Actor,
        owner: str | None = None,
        role: Role | None = None,
        lifetime: timedelta | None = None,
        per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A key and its text, which is kept nowhere. ``owner`` is a login, None for a service.

        Without a ``role`` a service gets ``system``, and a person's key the first of their roles
        that carries what the scopes need. Raises `NotFound` for a login that nobody has,
        `Conflict` for a disabled account, `InvalidInput` for what cannot be.
        """
        require(actor, Permission.MANAGE_PEOPLE)
        scopes, now = frozenset(scopes), self._clock()
        if lifetime is not None and lifetime <= timedelta():
            raise InvalidInput("A key cannot end before it begins.", hint="For example: 90d.")
        with self._units() as uow:
            account = _owner(uow, owner)
            key, text = ApiKey.new(
                label,
                account.id if account else None,
                role or _first_role(account, scopes),
                scopes,
                per_minute,
                created_by=actor.pseudonym,
                created_at=stamp(now),
                expires_at=stamp(now + lifetime) if lifetime else None,
            )
            _keep_to_own_roles(key, account)
            uow.api_keys.add(key)
            uow.record(Event("api_key.created", actor, _subject(key, account), _details(key)))
            uow.commit()
        return key, text

    def revoke(self, key_id: str, *, actor: Actor) -> ApiKey:
        """Nobody comes in with it any more. Raises `NotFound`; nothing happens the second time."""
        require(actor, Permission.MANAGE_PEOPLE)
        with self._units() as uow:
            found = uow.api_keys.find(key_id)
            if found is None:
                raise NotFound(
                    f"There is no API key {key_id[:64]}.",
                    hint="secondlook users token list shows all.",
                )
            key, account = found
            if key.revoked_at:
                return key
            key = replace(key, revoked_at=stamp(self._clock()))
            uow.api_keys.update(key)
            uow.record(Event("api_key.revoked", actor, _subject(key, account)))
            uow.commit()
        return key


def _owner(uow: UnitOfWork, login: str | None) -> Account | None:
    if login is None:
        return None
    account = uow.accounts.find(login_key(login))
    if account is None:
        raise NotFound(f"Nobody has the login {login}.", hint="secondlook users list shows all.")
    if account.disabled:
        raise Conflict(f"The account {account.login} is disabled.", hint="Enable it first.")
    return account


def _first_role(account: Account | None, scopes: frozenset[Scope]) -> Role:
    if account is None:
        return Role.SYSTEM
    own = [role for role in Role if role in account.roles]
    return next((role for role in own if scopes <= scopes_of(role)), own[0])


def _keep_to_own_roles(key: ApiKey, account: Account | None) -> None:
    if account is not None and key.role not in account.roles:
        raise InvalidInput(
            f"{account.login} does not have the role {key.role.value}.",
            hint="A key acts in a role that its owner has.",
        )


def _subject(key: ApiKey, account: Account | None) -> dict[str, str]:
    # The label is left out: people write names into it.
    return {"key": key.pseudonym} | ({"person": account.pseudonym} if account else {})


def _details(key: ApiKey) -> dict[str, object]:
    return {
        "role": key.role.value,
        "scopes": scope_names(key.scopes),
        "per_minute": key.per_minute,
        "expires_at": key.expires_at,
    }

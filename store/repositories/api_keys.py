"""API keys, with whose they are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, Select, select, update

from loop.accounts import Account
from loop.api_keys import ApiKey, Scope, scope_names
from loop.errors import NotFound
from loop.events import Role
from store import tables
from store.repositories.base import Repository
from store.repositories.people import account_of


class SqlApiKeys(Repository):
    def add(self, key: ApiKey) -> None:
        self._insert(tables.api_keys, **_columns(key))

    def update(self, key: ApiKey) -> None:
        table = tables.api_keys
        statement = update(table).where(table.c.id == key.id).values(**_columns(key))
        if self._transaction.write(statement) != 1:
            raise NotFound(f"There is no API key {key.id}.")

    def find(self, key_id: str) -> tuple[ApiKey, Account | None] | None:
        row = self._one(_with_owners().where(tables.api_keys.c.id == key_id))
        return _key_and_owner(row) if row else None

    def list(self, *, revoked: bool = True) -> list[tuple[ApiKey, Account | None]]:
        table = tables.api_keys
        query = _with_owners().order_by(table.c.created_at, table.c.id)
        if not revoked:
            query = query.where(table.c.revoked_at.is_(None))
        return [_key_and_owner(row) for row in self._all(query)]

    def note_use(self, key_id: str, at: str) -> None:
        table = tables.api_keys
        statement = update(table).where(table.c.id == key_id).values(last_used_at=at)
        self._transaction.write(statement, audited=False)


def _with_owners() -> Select[Any]:
    keys, accounts = tables.api_keys, tables.accounts
    return select(keys, accounts).outerjoin(accounts, keys.c.account_id == accounts.c.id)


def _columns(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "sha256": key.sha256,
        "label": key.label,
        "account_id": key.owner,
        "role": key.role.value,
        "scopes": scope_names(key.scopes),
        "per_minute": key.per_minute,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _key_and_owner(row: RowMapping) -> tuple[ApiKey, Account | None]:
    of = tables.api_keys.c
    key = ApiKey(
        id=row[of.id],
        sha256=row[of.sha256],
        label=row[of.label],
        owner=row[of.account_id],
        role=Role(row[of.role]),
        scopes=frozenset(Scope(name) for name in row[of.scopes]),
        per_minute=row[of.per_minute],
        created_by=row[of.created_by],
        created_at=row[of.created_at],
        expires_at=row[of.expires_at],
        revoked_at=row[of.revoked_at],
        last_used_at=row[of.last_used_at],
    )
    return key, account_of(row) if key.owner else None

"""Accounts, and what signing in leaves: sessions, one-time links, counted failures."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, and_, delete, or_, select, update

from loop.accounts import Account, Failures, Invitation, Session, login_key, role_names
from loop.errors import NotFound
from loop.events import Authentication, Role
from store import tables
from store.repositories.base import Repository


class SqlAccounts(Repository):
    def add(self, account: Account) -> None:
        self._insert(tables.accounts, **_columns(account))

    def update(self, account: Account) -> None:
        table = tables.accounts
        statement = update(table).where(table.c.id == account.id).values(**_columns(account))
        if self._transaction.write(statement) != 1:
            raise NotFound(f"There is no account {account.id}.")

    def get(self, account_id: str) -> Account:
        row = self._one(select(tables.accounts).where(tables.accounts.c.id == account_id))
        if row is None:
            raise NotFound(f"There is no account {account_id}.")
        return account_of(row)

    def find(self, key: str) -> Account | None:
        row = self._one(select(tables.accounts).where(tables.accounts.c.login_key == key))
        return account_of(row) if row else None

    def of_subject(self, issuer: str, subject: str) -> Account | None:
        table = tables.accounts
        same = and_(table.c.issuer == issuer, table.c.subject == subject)
        row = self._one(select(table).where(same))
        return account_of(row) if row else None

    def list(self) -> list[Account]:
        rows = self._all(select(tables.accounts).order_by(tables.accounts.c.login_key))
        return [account_of(row) for row in rows]

    def count(self) -> int:
        return self._count(tables.accounts)


class SqlSessions(Repository):
    def add(self, session: Session) -> None:
        columns = tables.sessions.columns
        self._insert(tables.sessions, **{c.name: getattr(session, c.name) for c in columns})

    def find(self, token_sha256: str) -> tuple[Session, Account] | None:
        session, account = tables.sessions, tables.accounts
        query = select(session, account).join(account, session.c.account_id == account.c.id)
        row = self._one(query.where(session.c.token_sha256 == token_sha256))
        if row is None:
            return None
        values = {column.name: row[column] for column in session.columns}
        values["method"] = Authentication(values["method"])
        return Session(**values), account_of(row)

    def note_use(self, token_sha256: str, at: str) -> None:
        table = tables.sessions
        statement = update(table).where(table.c.token_sha256 == token_sha256).values(seen_at=at)
        self._transaction.write(statement, audited=False)

    def end(self, token_sha256: str) -> None:
        table = tables.sessions
        self._transaction.write(delete(table).where(table.c.token_sha256 == token_sha256))

    def end_all(self, account_id: str) -> None:
        table = tables.sessions
        self._transaction.write(delete(table).where(table.c.account_id == account_id))

    def forget_ended(self, now: str, idle_since: str) -> None:
        table = tables.sessions
        over = or_(table.c.ends_at <= now, table.c.seen_at <= idle_since)
        self._transaction.write(delete(table).where(over), audited=False)


class SqlInvitations(Repository):
    def add(self, invitation: Invitation) -> None:
        columns = tables.invitations.columns
        self._insert(tables.invitations, **{c.name: getattr(invitation, c.name) for c in columns})

    def find(self, token_sha256: str) -> Invitation | None:
        table = tables.invitations
        row = self._one(select(table).where(table.c.token_sha256 == token_sha256))
        return Invitation(**row) if row else None

    def use(self, token_sha256: str, at: str) -> bool:
        table = tables.invitations
        good = and_(
            table.c.token_sha256 == token_sha256,
            table.c.used_at.is_(None),
            table.c.expires_at > at,
        )
        return self._transaction.write(update(table).where(good).values(used_at=at)) == 1

    def void(self, account_id: str | None, at: str) -> None:
        table = tables.invitations
        good = and_(
            table.c.account_id == account_id,  # `IS NULL` for None
            table.c.used_at.is_(None),
            table.c.expires_at > at,
        )
        self._transaction.write(update(table).where(good).values(expires_at=at))


class SqlSignInFailures(Repository):
    def take(self, login_digest: str) -> Failures:
        self._transaction.lock()
        table = tables.sign_in_failures
        row = self._one(select(table).where(table.c.login_digest == login_digest))
        return Failures(**row) if row else Failures(login_digest)

    def put(self, failures: Failures) -> None:
        table = tables.sign_in_failures
        values: dict[str, Any] = {c.name: getattr(failures, c.name) for c in table.columns}
        changed = update(table).where(table.c.login_digest == failures.login_digest)
        if not self._transaction.write(changed.values(**values), audited=False):
            self._transaction.write(table.insert().values(**values), audited=False)

    def forget(self, login_digest: str) -> None:
        table = tables.sign_in_failures
        statement = delete(table).where(table.c.login_digest == login_digest)
        self._transaction.write(statement, audited=False)

    def forget_before(self, failed_at: str, now: str) -> None:
        table = tables.sign_in_failures
        over = and_(table.c.failed_at <= failed_at, table.c.locked_until <= now)
        self._transaction.write(delete(table).where(over), audited=False)


def _columns(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "login": account.login,
        "login_key": login_key(account.login),
        "name": account.name,
        "pseudonym": account.pseudonym,
        "roles": role_names(account.roles),
        "password_hash": account.password_hash,
        "issuer": account.issuer or None,
        "subject": account.subject or None,
        "disabled": account.disabled,
        "created_at": account.created_at,
        "signed_in_at": account.signed_in_at,
    }


def account_of(row: RowMapping) -> Account:
    """From a row of `tables.accounts`, whatever else was joined to it."""
    of = tables.accounts.c
    return Account(
        id=row[of.id],
        login=row[of.login],
        name=row[of.name],
        pseudonym=row[of.pseudonym],
        roles=frozenset(Role(name) for name in row[of.roles]),
        password_hash=row[of.password_hash],
        issuer=row[of.issuer] or "",
        subject=row[of.subject] or "",
        disabled=row[of.disabled],
        created_at=row[of.created_at],
        signed_in_at=row[of.signed_in_at],
    )

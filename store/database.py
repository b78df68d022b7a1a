"""The database: SQLite in the home by default, PostgreSQL by its URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, OperationalError

from loop.errors import Misconfigured, Unavailable

# Longer than any of our transactions takes on a busy disk.
_BUSY_SECONDS = 30
# An arbitrary number that all who migrate this database agree on (PostgreSQL's advisory lock).
_MIGRATION_LOCK = 7_202_611
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(url: str) -> Engine:
    """An engine for ``url``; the folder of a SQLite file is made.

    Raises `Misconfigured` for a URL that is none, or not of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(
            f"The database URL cannot be read: {error}.",
            hint="SECONDLOOK_DATABASE_URL is like postgresql://user:password@host/name.",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    raise Misconfigured(
        f"Databases of the kind {parsed.get_backend_name()} are not supported.",
        hint="Use SQLite or PostgreSQL in SECONDLOOK_DATABASE_URL.",
    )


def migrate(engine: Engine) -> None:
    """Bring the schema up to date. Several processes may do this at once."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the end of the block, or rolled back by an error in it.

    Raises `Unavailable` when the database does not answer or stays locked.
    """
    with translated(), engine.begin() as connection:
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database that does not answer into `Unavailable`."""
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
        raise Unavailable(
            f"The database cannot be used: {reason}.",
            hint="Check SECONDLOOK_DATABASE_URL, and that the database is up and its disk has "
            "room.",
        ) from error


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
    del record
    # SQLAlchemy's recipe for real transactions: pysqlite's own guess at BEGIN is turned off.
    connection.isolation_level = None
    cursor = connection.cursor()
    # The rollback journal, not WAL: the SQLite of many systems (3.40 in Debian 12) has the
    # WAL-reset corruption that 3.51.3 fixed. FULL: an acknowledged commit survives a power cut.
    cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # At once a writer: two readers that both want to write would otherwise deadlock, and one be
    # refused. Our transactions are short, so readers can wait.
    connection.exec_driver_sql("BEGIN IMMEDIATE")

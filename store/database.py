"""The database: SQLite in the home by default, PostgreSQL by its URL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from loop.errors import BrokenRecord, Conflict, InvalidInput, Misconfigured, Unavailable

# Longer than any of our transactions takes on a busy disk.
_BUSY_SECONDS = 30
# An arbitrary number that all who write to this database agree on (PostgreSQL's advisory lock).
_WRITER_LOCK = 7_202_611
# Execution option that tells `_on_begin` which transactions write.
_WRITES = "secondlook_writes"
_MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic keeps the migration that runs in globals of its modules: threads of a process take turns,
# those too in which MLflow migrates its own database.
one_migration = threading.Lock()


def open_engine(url: str) -> Engine:
    """An engine for ``url``; the folder of a SQLite file is made.

    Raises `Misconfigured` for a URL that is none, or not of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(
            "The database URL cannot be read.",
            hint="SECONDLOOK_DATABASE_URL is like postgresql://user:password@host/name.",
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend in ("postgresql", "postgres"):
        return create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    raise Misconfigured(
        f"Databases of the kind {backend} are not supported.",
        hint="Use SQLite or PostgreSQL in SECONDLOOK_DATABASE_URL.",
    )


def migrate(engine: Engine) -> None:
    """Bring the schema up to date. Processes and threads may do so at once.

    Raises `Misconfigured` for a database that a newer Second Look has migrated.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with reading(engine) as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with one_migration, writing(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Misconfigured(
                f"The database cannot be brought up to date: {error}.",
                hint="It belongs to a newer Second Look: install that one, or use another home.",
            ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """For reading: each statement sees what is committed by then, and none holds up a writer.

    Raises as `translated` does.
    """
    with translated(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the end of the block, or rolled back by an error in it.

    One at a time in the whole database. Raises as `translated` does.
    """
    with translated(), begin_writing(engine) as connection:
        yield connection
        connection.commit()


def begin_writing(engine: Engine) -> Connection:
    """A connection in a transaction that may write. The caller commits, and closes it.

    Writers are one at a time on both databases, so that what one has read stays true until it
    commits. Raises `Unavailable` if the turn does not come in time.
    """
    with translated():
        connection = engine.connect().execution_options(**{_WRITES: True})
        try:
            connection.begin()
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{_BUSY_SECONDS}s'"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into ours.

    `Unavailable` when it does not answer, stays locked or has no room; `Conflict` for what is
    there already; `InvalidInput` for text that it cannot hold; `BrokenRecord` for a damaged file.
    """
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise Unavailable(
            f"The database cannot be used: {_reason(error)}.",
            hint="Check SECONDLOOK_DATABASE_URL, and that the database is up and its disk has "
            "room; if it was locked, try again.",
        ) from error
    except IntegrityError as error:
        raise Conflict(
            "This is there already, or belongs to something that is not there.",
            hint="Somebody may have been faster: load it again.",
        ) from error
    except (DataError, UnicodeEncodeError) as error:
        raise InvalidInput(
            "The database cannot hold this text or number.",
            hint="Leave out control characters and half characters (lone surrogates).",
        ) from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # its other kinds are mistakes in our statements
            raise
        raise BrokenRecord(
            f"The database file cannot be read: {_reason(error)}.",
            hint="Restore it from a backup.",
        ) from error


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no answer"


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise Misconfigured(
            "A SQLite database in memory cannot be shared between the parts.",
            hint="Name a file: sqlite:////absolute/path/secondlook.db.",
        )
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"The folder of the database cannot be made: {error.strerror}: {url.database}.",
            hint="Let this user write there, or set SECONDLOOK_HOME to another folder.",
        ) from error
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
    # A writer is one from the start: two that began as readers would deadlock, and SQLite would
    # refuse one of them at once. Who only reads has no transaction, and so no lock between
    # statements: with the rollback journal, an open reader keeps every writer from committing.
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

"""Databases to test on: SQLite in a temporary folder, and a PostgreSQL server of our own."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from store.database import migrate, open_engine

POSTGRES = Path("/usr/lib/postgresql/15/bin")
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """Makes an empty database, or a copy of the one that is named, and returns its URL."""
    if not (POSTGRES / "initdb").exists():
        pytest.skip(f"PostgreSQL's server binaries are not in {POSTGRES}")
    # Not below pytest's own folder, which the server's user may not enter; and short, since a
    # socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="second-look-pg-"))
    as_user: dict[str, str | int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
    data = folder / "data"

    def run(*command: str) -> None:
        program = str(POSTGRES / command[0])
        subprocess.run(
            [program, *command[1:]],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            extra_groups=[] if as_user else None,
            **as_user,  # type: ignore[call-overload]
        )

    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c full_page_writes=off"
    run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    admin = open_engine(f"postgresql://postgres@/postgres?host={folder}")

    def make(template: str) -> str:
        name = f"test_{next(_numbers)}"
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        return f"postgresql://postgres@/{name}?host={folder}"

    try:
        yield make
    finally:
        admin.dispose()
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Callable[[str], str]) -> str:
    """The name of a database to copy, its schema made: faster than migrating for each test."""
    url = postgres("template0")
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return str(engine.url.database)


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'second-look.db'}"
    return str(request.getfixturevalue("postgres")("template0"))


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database whose schema is up to date."""
    if request.param == "postgres":
        make = request.getfixturevalue("postgres")
        return str(make(request.getfixturevalue("migrated_postgres")))
    url = f"sqlite:///{tmp_path / 'second-look.db'}"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()

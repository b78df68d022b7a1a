"""Databases to test on: SQLite in a temporary folder, and a PostgreSQL server of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from store.database import migrate, open_engine
from tests.postgres import postgres_server

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """Makes an empty database, or a copy of the one that is named, and returns its URL."""
    with postgres_server() as make:
        yield make


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

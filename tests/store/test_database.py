from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, insert, select, text

from loop.errors import BrokenRecord, Conflict, InvalidInput, Misconfigured, Unavailable
from store import database, tables
from store.database import begin_writing, migrate, open_engine, reading, writing
from store.tracking import Tracking

MIGRATIONS = Path(database.__file__).parent / "migrations"


@pytest.fixture
def empty(empty_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def add_snapshot(sha256: str, created_by: str = "ana") -> object:
    return insert(tables.snapshots).values(
        sha256=sha256, manifest={}, created_at="2026", created_by=created_by
    )


def count_snapshots(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(tables.snapshots)).scalar_one()


@pytest.mark.parametrize(
    "url",
    ["not a url", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:"],
    ids=["nonsense", "mysql", "no file", "memory"],
)
def test_a_url_that_cannot_be_used_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        open_engine(url)
    assert caught.value.hint


def test_the_refusal_of_a_url_does_not_show_its_password() -> None:
    with pytest.raises(Misconfigured) as caught:
        open_engine("mysql://root:secret@localhost/x")
    assert "secret" not in str(caught.value.as_dict())


def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new/folder/second-look.db")
    migrate(engine)
    assert (tmp_path / "new" / "folder" / "second-look.db").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured) as caught:
        open_engine(f"sqlite:///{tmp_path}/file/second-look.db")
    assert str(tmp_path) in caught.value.message


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql://nobody@/nothing?host={tmp_path}")
    with pytest.raises(Unavailable) as caught:
        migrate(engine)
    assert "SECONDLOOK_DATABASE_URL" in caught.value.hint


def test_a_file_that_is_no_database_is_a_broken_record(tmp_path: Path) -> None:
    (tmp_path / "second-look.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(BrokenRecord):
        migrate(open_engine(f"sqlite:///{tmp_path}/second-look.db"))


def test_sqlite_keeps_what_it_acknowledged_and_checks_references(tmp_path: Path) -> None:
    with reading(open_engine(f"sqlite:///{tmp_path}/second-look.db")) as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode")
        }
    assert found == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "delete"}


def test_the_migrations_make_the_tables_as_they_are_declared(empty: Engine) -> None:
    migrate(empty)
    with reading(empty) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_migrating_again_changes_nothing(empty: Engine) -> None:
    migrate(empty)
    with writing(empty) as connection:
        connection.execute(add_snapshot("a"))
    migrate(empty)
    assert count_snapshots(empty) == 1


def test_a_migration_that_fails_leaves_nothing_behind(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object, revision: str) -> None:
        config.attributes["connection"].execute(text("CREATE TABLE half (id INTEGER)"))
        raise KeyboardInterrupt

    monkeypatch.setattr(database.command, "upgrade", fail)
    with pytest.raises(KeyboardInterrupt):
        migrate(empty)
    with reading(empty) as connection:
        assert not empty.dialect.has_table(connection, "half")


def test_several_processes_may_migrate_at_once(empty_url: str) -> None:
    code = f"from store.database import *; migrate(open_engine({empty_url!r}))"
    starting = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in starting] == [0, 0]
    engine = open_engine(empty_url)
    assert count_snapshots(engine) == 0
    engine.dispose()


def test_threads_may_migrate_databases_at_once_while_mlflow_migrates_its_own(
    tmp_path: Path,
) -> None:
    def make(number: int) -> None:
        if number == 0:
            Tracking(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts").prepare()
        else:
            migrate(open_engine(f"sqlite:///{tmp_path}/{number}.db"))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(make, range(5)))
    for number in range(1, 5):
        assert count_snapshots(open_engine(f"sqlite:///{tmp_path}/{number}.db")) == 0


def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured) as caught:
        migrate(engine)
    assert "newer" in caught.value.hint


def test_a_block_that_ends_is_committed_and_one_that_fails_is_not(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(add_snapshot("a"))
    with pytest.raises(KeyError), writing(engine) as connection:
        connection.execute(add_snapshot("b"))
        raise KeyError
    assert count_snapshots(engine) == 1


def test_who_reads_does_not_wait_for_who_writes(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(add_snapshot("a"))
        assert count_snapshots(engine) == 0


def test_who_writes_does_not_wait_for_who_reads(engine: Engine) -> None:
    with reading(engine) as reader:
        everything = select(tables.snapshots)
        assert reader.execute(everything).all() == []
        with writing(engine) as connection:
            connection.execute(add_snapshot("a"))
        assert len(reader.execute(everything).all()) == 1


def test_a_turn_to_write_that_does_not_come_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    engine = open_engine(database_url)
    with writing(engine):
        with pytest.raises(Unavailable) as caught:
            begin_writing(engine)
        assert caught.value.hint
    begin_writing(engine).close()  # nothing of the attempt is left behind
    engine.dispose()


def test_the_same_key_twice_is_a_conflict(engine: Engine) -> None:
    with pytest.raises(Conflict), writing(engine) as connection:
        connection.execute(add_snapshot("a"))
        connection.execute(add_snapshot("a"))


def test_text_that_is_none_is_invalid_input(engine: Engine) -> None:
    with pytest.raises(InvalidInput), writing(engine) as connection:
        connection.execute(add_snapshot("a", created_by="half a character: \ud800"))


@pytest.mark.postgres
def test_postgresql_refuses_a_nul_in_text_as_invalid_input(migrated: Engine) -> None:
    with pytest.raises(InvalidInput), writing(migrated) as connection:
        connection.execute(add_snapshot("a", created_by="\0"))


@pytest.fixture
def migrated(request: pytest.FixtureRequest) -> Iterator[Engine]:
    make = request.getfixturevalue("postgres")
    engine = open_engine(make(request.getfixturevalue("migrated_postgres")))
    yield engine
    engine.dispose()


def test_images_from_before_there_were_hashes_are_kept_without_one(empty: Engine) -> None:
    row = {
        "id": "a" * 64,
        "width": 4,
        "height": 3,
        "media_type": "image/png",
        "subject": "s",
        "source": "upload",
        "created_at": "2026",
        "gold": True,
    }
    with writing(empty) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(
            text(
                "INSERT INTO images (id, width, height, media_type, subject, source, created_at,"
                " gold) VALUES (:id, :width, :height, :media_type, :subject, :source, :created_at,"
                " :gold)"
            ),
            row,
        )
    migrate(empty)
    with reading(empty) as connection:
        assert dict(connection.execute(select(tables.images)).mappings().one()) == {
            **row,
            "phash": None,
        }

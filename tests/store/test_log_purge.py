"""A log whose first entries are past their retention."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, NotAllowed, Unavailable
from loop.events import Actor, Event, Role
from loop.retention import LEAST_LOG_DAYS, LogSpan, RetentionSettings, purge_log
from loop.tiles import Bundle
from store import tables
from store.audit_log import AuditLog
from store.database import writing
from store.log_export import export_log
from store.log_files import LogFiles
from store.log_purge import PurgeableFiles
from store.log_verify import verify_files
from store.unit_of_work import units_of_work
from tests.store.logs import ACTOR, Crash, sqlite_log

ADMIN = Actor("root", Role.ADMIN)
NOW = datetime(2027, 1, 1, tzinfo=UTC)
SETTINGS = RetentionSettings(log_days=LEAST_LOG_DAYS)


def put(log: AuditLog, count: int, days_ago: float, start: int) -> None:
    at = (NOW - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    rows = [
        {"event": Event("test.happened", ACTOR, {"number": n}, id=f"e{n}", at=at).canonical()}
        for n in range(start, start + count)
    ]
    with writing(log.rows.engine) as connection:
        texts = [{"event": row["event"].decode()} for row in rows]
        connection.execute(insert(tables.audit_outbox), texts)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """600 entries are old enough, 200 are not."""
    log = sqlite_log(tmp_path / "home")
    put(log, 600, LEAST_LOG_DAYS + 1, 0)
    put(log, 200, 3, 600)
    log.integrate()
    return log


def purge(log: AuditLog, at: datetime = NOW) -> LogSpan | None:
    units = units_of_work(log.rows.engine, log)
    return purge_log(units, PurgeableFiles(log), SETTINGS, actor=ADMIN, reason="old", at=at)


def verified(log: AuditLog) -> int:
    """How many entries were not looked at, by the files alone and with the database's copy."""
    key = log.key.public()
    assert key is not None
    whole = log.verify()
    assert verify_files(log.files, key) == whole
    return whole.purged


def test_whole_bundles_whose_entries_are_all_old_go_and_the_rest_verifies(log: AuditLog) -> None:
    span = purge(log)
    assert span is not None
    assert (span.first, span.last, span.entries) == (0, 511, 512)
    assert verified(log) == 512
    assert log.files.missing(log.head().size) == [0, 1]
    entries = log.tail(1000)
    assert entries[0].index == 512
    told = [each.event for each in entries if each.event.type == "log.purged"]
    assert [event.outcome for event in told] == ["intended", "done"]
    assert told[0].subject == {"first": 0, "last": 511}
    assert told[0].details["entries"] == 512
    assert told[0].details["retention_days"] == LEAST_LOG_DAYS


def test_the_record_names_what_went_by_the_root_of_its_tree(log: AuditLog, tmp_path: Path) -> None:
    entries = list(log.files.entries(512 + 256))[:512]
    span = purge(log)
    copy = LogFiles(tmp_path / "copy")
    assert span is not None
    assert copy.append(0, entries).hex() == span.root


def test_nothing_goes_before_its_time(log: AuditLog) -> None:
    assert purge(log, NOW - timedelta(days=2)) is None
    assert verified(log) == 0
    assert len(log.tail(1000)) == 800


def test_a_proof_of_what_is_gone_still_holds(log: AuditLog) -> None:
    entry = log.get(7)
    before = log.prove(7)
    purge(log)
    after = log.prove(7)
    assert before.check(entry.data).size == 800
    assert after.check(entry.data).size == Checkpoint.parse(log.checkpoint().text).size


def test_the_log_goes_on_and_is_purged_again(log: AuditLog) -> None:
    purge(log)
    put(log, 300, 0, 800)
    log.integrate()
    assert verified(log) == 512
    assert purge(log) is None
    later = NOW + timedelta(days=LEAST_LOG_DAYS)
    span = purge(log, later)
    assert span is not None
    assert span.first == 512
    assert verified(log) == span.last + 1


def test_a_bundle_that_is_gone_without_a_record_is_an_error(log: AuditLog) -> None:
    (log.files.folder / Bundle(0).path).unlink()
    with pytest.raises(BrokenRecord, match="entries from 0 on cannot be read"):
        log.verify()


def test_a_bundle_behind_what_was_purged_must_be_there(log: AuditLog) -> None:
    purge(log)
    put(log, 300, 0, 800)
    log.integrate()
    (log.files.folder / Bundle(2).path).unlink()
    with pytest.raises(BrokenRecord, match="entries from 512 on cannot be read"):
        log.verify()


def test_a_hash_of_what_was_purged_cannot_be_changed(log: AuditLog) -> None:
    purge(log)
    path = log.files.folder / "tile/0/000"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenRecord, match="One of the entries from 0 to 255 was changed"):
        log.verify()


def test_a_row_that_comes_back_to_the_database_is_found(log: AuditLog) -> None:
    row = {"index": 3, "event": log.get(3).data.decode(), "event_id": "e3", "type": "test.happened"}
    purge(log)
    with writing(log.rows.engine) as connection:
        connection.execute(insert(tables.audit_log).values(**row, at="2026", actor="ana"))
    with pytest.raises(BrokenRecord, match="Entry 0 is missing or moved in the database"):
        log.verify()


def test_a_log_that_does_not_verify_is_not_purged(log: AuditLog) -> None:
    path = log.files.folder / Bundle(0).path
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenRecord):
        purge(log)
    assert path.exists()
    assert log.head().size == 800


@pytest.mark.parametrize("step", ["rows", "files", "half of the files"])
def test_a_purge_that_was_interrupted_leaves_a_log_that_verifies_and_is_finished(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise Crash

    def half(end: int) -> None:
        LogFiles.drop_entries(log.files, 256)
        raise Crash

    with monkeypatch.context() as patch:
        if step == "rows":
            patch.setattr(log.rows, "drop", crash)
        else:
            patch.setattr(log.files, "drop_entries", crash if step == "files" else half)
        with pytest.raises(Crash):
            purge(log)
    assert verified(log) == (256 if step == "half of the files" else 0)
    assert purge(log) is None
    assert verified(log) == 512
    assert log.tail(1000)[0].index == 512


def test_what_the_disk_does_not_delete_is_said(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(Unavailable):
        log.files.drop_entries(256)


def test_who_may_not_erase_may_not_purge(log: AuditLog) -> None:
    units = units_of_work(log.rows.engine, log)
    for role in (Role.ENGINEER, Role.AUDITOR, Role.SYSTEM):
        with pytest.raises(NotAllowed):
            purge_log(
                units, PurgeableFiles(log), SETTINGS, actor=Actor("x", role), reason="", at=NOW
            )


def test_many_processes_find_the_same(log: AuditLog) -> None:
    purge(log)
    key = log.key.public()
    assert key is not None
    assert verify_files(log.files, key, processes=2).purged == 512


def test_an_export_of_what_is_left_verifies_by_its_own_script(
    log: AuditLog, tmp_path: Path
) -> None:
    purge(log)
    folder = tmp_path / "export"
    assert export_log(log, folder).purged == 512
    script = [sys.executable, str(folder / "verify.py")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "512 of them are gone" in done.stdout
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == log.head().size - 512
    (folder / "log" / Bundle(2).path).unlink()
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "tile/entries/002" in done.stderr


def test_the_databases_copy_is_made_anew_of_what_is_left(log: AuditLog) -> None:
    purge(log)
    assert log.reindex().purged == 512
    assert verified(log) == 512
    assert log.tail(1000)[0].index == 512


def test_it_is_made_anew_after_half_a_purge(log: AuditLog) -> None:
    purge(log)
    log.rows.drop(600)
    log.reindex()
    assert verified(log) == 512

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, Misconfigured, Unavailable
from loop.signed_notes import Note
from store import durable, log_files
from store.audit_log import AuditLog
from store.database import open_engine
from store.log_export import export_log
from store.log_timestamps import LogTimestamps
from store.sequencer import Sequencer
from store.tsa_client import TsaClient
from tests.store.logs import log_in, put, sqlite_log
from tests.store.test_log_export import WITNESS, run
from tests.store.tsa import DAY, Authority, Server, needs_openssl, serving

pytestmark = needs_openssl
NEVER = timedelta(days=300)
ALWAYS = timedelta(0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "good")


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(lambda query: (200, authority.reply(query))) as server:
        yield server


@pytest.fixture
def log(tmp_path: Path, authority: Authority, server: Server) -> AuditLog:
    log = sqlite_log(tmp_path / "home", 3)
    log.timestamps = stamping(log, server, authority)
    return log


def stamping(
    log: AuditLog, server: Server, authority: Authority, every: timedelta = ALWAYS
) -> LogTimestamps:
    client = TsaClient(server.url, authority.roots, timeout_s=5)
    return LogTimestamps(log.files, client, authority.roots, every)


def grow(log: AuditLog, count: int = 1) -> int:
    size = log.head().size
    put(log.rows.engine, *range(size, size + count))
    log.integrate()
    return size + count


def test_what_is_integrated_is_stamped_and_verify_says_until_when(log: AuditLog) -> None:
    assert Sequencer(log).once()
    log.timestamps.wait()
    assert log.files.timestamps() == [3]
    note, _ = log.files.timestamp(3)
    assert note == log.checkpoint()
    grow(log, 300)
    assert log.timestamps.stamp()
    grow(log)
    stamped = log.verify().stamped
    assert (stamped.count, stamped.size) == (2, 303)
    assert stamped.at is not None
    assert abs(stamped.at - datetime.now(UTC)) < DAY


def test_nothing_is_stamped_twice_nor_before_it_is_time(
    log: AuditLog, server: Server, authority: Authority
) -> None:
    assert log.timestamps.stamp()
    assert not log.timestamps.stamp()  # it has not grown
    grow(log)
    assert not stamping(log, server, authority, NEVER).stamp()
    assert len(server.asked) == 1
    assert log.timestamps.stamp()
    assert log.files.timestamps() == [3, 4]


def test_without_an_authority_nothing_is_stamped_and_without_roots_nothing_checked(
    log: AuditLog, server: Server
) -> None:
    plain = LogTimestamps(log.files)
    plain.soon()
    plain.wait()
    assert not plain.stamp()
    assert not server.asked
    assert log.timestamps.stamp()
    log.timestamps = plain
    found = log.verify().stamped
    assert (found.count, found.at) == (1, None)


def test_an_empty_log_has_nothing_to_stamp(
    tmp_path: Path, server: Server, authority: Authority
) -> None:
    log = sqlite_log(tmp_path / "empty")
    log.timestamps = stamping(log, server, authority)
    assert Sequencer(log).once()
    log.timestamps.wait()
    assert not server.asked
    assert log.verify().size == 0


def test_an_authority_that_is_slow_holds_nothing_up(
    log: AuditLog, server: Server, authority: Authority
) -> None:
    asked, let_go = threading.Event(), threading.Event()

    def slow(query: bytes) -> tuple[int, bytes]:
        asked.set()
        let_go.wait()
        return 200, authority.reply(query)

    server.answer = slow
    sequencer = Sequencer(log)
    try:
        assert sequencer.once()
        assert asked.wait(60)
        put(log.rows.engine, 3)
        assert sequencer.once()
        assert log.head().size == 4
        assert not stamping(log, server, authority).stamp()  # another process asks already
    finally:
        let_go.set()
    log.timestamps.wait()
    assert log.files.timestamps() == [3]  # what was asked for, though the log has grown
    assert log.verify().stamped.size == 3


_COMMAND = """
import sys
from pathlib import Path
from store.audit_log import open_audit_log
from store.sequencer import Sequencer
from store.settings import load_settings
from tests.store.logs import put
log = open_audit_log(load_settings(Path(sys.argv[1])))
sequencer = Sequencer(log)
put(log.rows.engine, 0)
"""


def test_a_command_has_what_it_did_cosigned_and_stamped_at_its_end(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    away = {
        "SECONDLOOK_AUDIT_WITNESSES": f"http://127.0.0.1:1 {WITNESS.key}",
        "SECONDLOOK_AUDIT_TSA_URL": server.url,
        "SECONDLOOK_AUDIT_TSA_ROOTS": str(authority.roots),
    }
    command = [sys.executable, "-c", _COMMAND, str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | away, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "The witness witness.example.org at http://127.0.0.1:1 did not cosign" in done.stderr
    log = log_in(tmp_path, open_engine(f"sqlite:///{tmp_path}/secondlook.db"))
    assert (log.head().size, log.files.timestamps()) == (1, [1])


def test_after_a_failure_it_is_left_alone_for_a_while_by_all_processes_and_told_once(
    log: AuditLog, server: Server, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    good, server.answer = server.answer, lambda query: (503, b"")
    sequencer = Sequencer(log)
    tries = log.files.folder.with_name("log.tsa")
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            assert sequencer.once()
            log.timestamps.wait()
        assert log.timestamps._rests_until > time.monotonic() + 60
        log.timestamps._rests_until = 0.0
        rested = tries.stat().st_mtime - 3600
        assert not stamping(log, server, authority).stamp()
        os.utime(tries, (rested, rested))
    assert [record.message for record in caplog.records] == [
        f"The log's checkpoint got no timestamp from {server.url[7:-4]}: it answers 503."
    ]
    assert len(server.asked) == 2
    server.answer = good
    assert stamping(log, server, authority).stamp()
    grow(log)
    assert log.timestamps.stamp()  # it does not rest after a success


def test_a_disk_that_takes_no_timestamp_fails_nothing_else(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log_files, "_write", full)
        with pytest.raises(Unavailable, match="No space left"):
            log.timestamps.stamp()
    assert not log.failure()
    assert log.files.timestamps() == []
    assert log.verify().size == 3


def test_a_crash_between_the_two_files_leaves_a_log_that_verifies_and_is_stamped_later(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = log_files._write

    def first_only(path: Path, data: bytes) -> None:
        if path.suffix == ".tsr":
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(log_files, "_write", first_only)
        with pytest.raises(KeyboardInterrupt):
            log.timestamps.stamp()
    assert (log.files.folder / "timestamps/3.checkpoint").exists()
    assert log.verify().stamped.count == 0
    assert log.timestamps.stamp()
    assert log.verify().stamped.size == 3


def test_both_files_and_their_names_are_on_the_disk_before_it_counts(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(log_files, "sync", lambda path: synced.append(path) or durable.sync(path))
    assert log.timestamps.stamp()
    assert synced == [log.files.folder / "timestamps", log.files.folder]


def test_a_broken_timestamp_is_named(log: AuditLog, tmp_path: Path) -> None:
    assert log.timestamps.stamp()
    grow(log)
    assert log.timestamps.stamp()
    folder = log.files.folder / "timestamps"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(whole) == ["3.checkpoint", "3.tsr", "4.checkpoint", "4.tsr"]
    for name, content, words in [
        ("3.tsr", b"garbage", "timestamp of 3 entries .*no answer of a time-stamping"),
        ("4.tsr", b"", "timestamp of 4 entries .*no answer of a time-stamping"),
        ("4.tsr", whole["3.tsr"], "timestamp of 4 entries .*something else"),
        ("3.checkpoint", whole["4.checkpoint"], "timestamp of 3 entries .*is of 4 entries"),
        ("4.checkpoint", b"garbage", "timestamp of 4 entries"),
        ("4.checkpoint", None, "timestamp of 4 entries .*is not there"),
        ("7.tsr", whole["4.tsr"], "timestamp of 7 entries .*is not there"),
    ]:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        with pytest.raises(BrokenRecord, match=words):
            log.verify()
        for path in folder.iterdir():
            path.unlink()
        for each, data in whole.items():
            (folder / each).write_bytes(data)
    (folder / ".4.tsr").write_bytes(b"a draft of a crash")
    assert log.verify().stamped.count == 2


def test_a_newest_timestamp_that_cannot_be_read_does_not_keep_the_next_one_away(
    log: AuditLog, server: Server, authority: Authority
) -> None:
    assert log.timestamps.stamp()
    (log.files.folder / "timestamps/3.tsr").write_bytes(b"garbage")
    grow(log)
    assert stamping(log, server, authority, NEVER).stamp()
    assert log.files.timestamps() == [3, 4]


def test_other_roots_and_roots_that_are_not_there_are_told(log: AuditLog, tmp_path: Path) -> None:
    assert log.timestamps.stamp()
    log.timestamps = LogTimestamps(log.files, roots=Authority(tmp_path / "other").roots)
    with pytest.raises(BrokenRecord, match=r"timestamp of 3 entries .*not trusted"):
        log.verify()
    log.timestamps = LogTimestamps(log.files, roots=tmp_path / "none.pem")
    with pytest.raises(Misconfigured, match=r"none\.pem"):
        log.verify()


@pytest.mark.parametrize("grown", [0, 5])
def test_a_log_that_was_set_back_behind_a_timestamp_is_noticed(
    log: AuditLog, tmp_path: Path, grown: int
) -> None:
    """By who left the timestamps lying there, or put them back."""
    home = tmp_path / "home"
    shutil.copytree(home, tmp_path / "backup")
    grow(log, 2)
    assert log.timestamps.stamp()
    kept = tmp_path / "timestamps"
    shutil.copytree(log.files.folder / "timestamps", kept)
    log.rows.engine.dispose()
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    if grown:
        put(log.rows.engine, *range(100, 100 + grown))
        log.integrate()
    assert log.verify().stamped.count == 0
    shutil.copytree(kept, log.files.folder / "timestamps")
    with pytest.raises(BrokenRecord, match="forked" if grown else "set back"):
        log.verify()
    assert not log.timestamps.stamp() or grown == 5


def test_an_export_takes_timestamps_along_and_openssl_checks_them(
    log: AuditLog, authority: Authority, tmp_path: Path
) -> None:
    assert log.timestamps.stamp()
    grow(log, 297)
    assert log.timestamps.stamp()
    grow(log)
    folder = tmp_path / "export"
    export_log(log, folder)
    code, told = run(folder)
    assert (code, "It goes on from 2 checkpoints with a timestamp" in told) == (0, True)
    # What it says to do, done as an auditor does.
    commands = [line.strip() for line in told.splitlines() if line.startswith("    ")]
    assert len(commands) == 3
    shell = " && ".join(commands).replace("ROOTS.pem", str(authority.roots))
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True)  # noqa: S602
    assert done.returncode == 0, done.stderr
    assert "Verification: OK" in done.stdout + done.stderr
    assert "Time stamp:" in done.stdout
    stamped = folder / "log/timestamps"
    for broken, words in [
        ((stamped / "3.checkpoint", stamped / "300.checkpoint"), "stamps another one"),
        ((stamped / "3.tsr", stamped / "999.tsr"), "999.checkpoint"),
    ]:
        before = broken[1].read_bytes() if broken[1].exists() else None
        shutil.copyfile(*broken)
        code, told = run(folder)
        assert (code, "WRONG" in told, words in told) == (1, True, True), told
        broken[1].unlink() if before is None else broken[1].write_bytes(before)
    assert run(folder)[0] == 0


def test_the_script_notices_a_log_that_does_not_go_on_from_what_was_stamped(
    log: AuditLog, tmp_path: Path
) -> None:
    assert log.timestamps.stamp()
    export_log(log, tmp_path / "export")
    signer = log.key.signer()
    forged = Checkpoint(signer.name, 3, b"\x07" * 32).text()
    note = Note(forged, (signer.sign(forged),))
    (tmp_path / "export/log/timestamps/3.checkpoint").write_text(str(note))
    code, told = run(tmp_path / "export")
    assert (code, "not those that were stamped" in told) == (1, True), told

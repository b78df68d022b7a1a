from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, Unavailable
from loop.events import Event
from loop.tiles import WIDTH
from store import log_mirror, tables
from store.audit_log import AuditLog
from store.database import migrate, open_engine, writing
from store.log_mirror import LogMirror
from store.log_objects import LogObjects
from store.log_role import LogRole
from store.log_verify import verify_files
from store.objects import Objects
from store.sequencer import Sequencer
from tests.s3 import S3Server, open_bucket
from tests.store.homes import FailingObjects, MemoryObjects, log_of
from tests.store.logs import ACTOR, Crash, put, until_none_fails


@pytest.fixture
def sqlite(tmp_path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path}/second-look.db")
    migrate(engine)
    return engine


def grown(log: AuditLog, *numbers: int) -> None:
    put(log.rows.engine, *numbers)
    log.integrate()


def mirror_of(log: AuditLog, objects: Objects) -> LogMirror:
    """That of another process on the same home."""
    return LogMirror(log.files, objects, log.public_key, log.purged)


def in_folder(log: AuditLog) -> dict[str, bytes]:
    folder = log.files.folder
    files = (path for path in folder.rglob("*") if path.is_file())
    return {f"log/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}


def held(objects: Objects) -> dict[str, bytes]:
    return {each.key: objects.get(each.key) for each in objects.list("")}


def without_parts(files: dict[str, bytes]) -> dict[str, bytes]:
    """A file of each grown stage is left until the tile is whole: not all of them are copied."""
    return {name: data for name, data in files.items() if ".p/" not in name}


def counted(objects: Objects) -> int:
    note = LogObjects(objects).checkpoint()
    return Checkpoint.parse(note.text).size if note else 0


@pytest.mark.parametrize("size", [1, 255, 256, 300])
def test_the_bucket_has_the_files_and_the_public_key(
    sqlite: Engine, tmp_path: Path, size: int
) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, *range(size))
    assert mirror_of(log, objects).sync()
    assert objects.held == {
        **in_folder(log),
        "log/log.vkey": f"{log.public_key()}\n".encode(),
    }


def test_it_grows_with_the_log_and_keeps_no_parts_of_what_is_whole(
    sqlite: Engine, tmp_path: Path
) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    mirror = mirror_of(log, objects)
    for first, end in ((0, 3), (3, 250), (250, 513)):
        grown(log, *range(first, end))
        mirror.sync()
        assert verify_files(LogObjects(objects), log.public_key()).size == end
    assert sorted(name for name in objects.held if ".p/" in name) == [
        *("log/tile/0/002.p/1", "log/tile/1/000.p/2", "log/tile/entries/002.p/1"),
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [Crash(), Unavailable("gone")], ids=["crash", "refused"])
def test_whatever_call_fails_the_copy_verifies_and_the_next_one_goes_on(
    sqlite: Engine, tmp_path: Path, error: BaseException, after: bool
) -> None:
    log = log_of(tmp_path, sqlite, None, LogRole.HERE)
    grown(log, *range(3))
    begun = MemoryObjects()
    mirror_of(log, begun).sync()
    grown(log, *range(3, WIDTH + 2))
    whole = MemoryObjects()
    mirror_of(log, whole).sync()

    def once(step: int) -> bool:
        objects = MemoryObjects(dict(begun.held))
        failing = FailingObjects(objects, step, error, after=after)
        try:
            mirror_of(log, failing).sync()
        except type(error):
            pass
        assert verify_files(LogObjects(objects), log.public_key()).size in (3, WIDTH + 2)
        mirror_of(log, objects).sync()
        assert verify_files(LogObjects(objects), log.public_key()).size == WIDTH + 2
        assert without_parts(held(objects)) == without_parts(held(whole))
        return failing.failed

    assert until_none_fails(once) > 5


def test_what_a_bucket_of_a_server_holds_verifies_wherever_it_was_cut_off(
    sqlite: Engine, tmp_path: Path, s3: S3Server
) -> None:
    log = log_of(tmp_path, sqlite, None, LogRole.HERE)
    grown(log, *range(WIDTH + 2))
    key = log.public_key()

    def once(step: int) -> bool:
        objects = open_bucket(s3.bucket())
        failing = FailingObjects(objects, step, Crash(), after=False)
        with suppress(Crash):
            mirror_of(log, failing).sync()
        assert counted(objects) in (0, WIDTH + 2)
        assert (counted(objects) > 0) == (not failing.failed or step > 6)
        mirror_of(log, objects).sync()
        assert verify_files(LogObjects(objects), key).size == WIDTH + 2
        return failing.failed

    assert until_none_fails(once) > 5


def test_cosignatures_and_timestamps_that_come_later_are_copied_too(
    sqlite: Engine, tmp_path: Path
) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, 0)
    mirror = mirror_of(log, objects)
    mirror.sync()
    note = log.checkpoint()
    log.files.keep_timestamp(note, b"a stamp")
    twice = note.with_signatures(note.signatures)
    log.files.publish(twice)
    assert mirror._is_behind()
    mirror.sync()
    assert not mirror._is_behind()
    assert LogObjects(objects).timestamps() == [1]
    assert LogObjects(objects).timestamp(1) == (note, b"a stamp")
    assert objects.held["log/checkpoint"] == str(twice).encode()


def test_the_copy_of_another_log_is_not_written_over(sqlite: Engine, tmp_path: Path) -> None:
    objects = MemoryObjects()
    other_engine = open_engine(f"sqlite:///{tmp_path}/other.db")
    migrate(other_engine)
    other = log_of(tmp_path / "other", other_engine, None, LogRole.HERE)
    grown(other, 0, 1)
    mirror_of(other, objects).sync()
    before = dict(objects.held)
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, *range(4))
    with pytest.raises(BrokenRecord):
        mirror_of(log, objects).sync()
    # Not even if only the key of another one is there.
    objects.held.pop("log/checkpoint")
    with pytest.raises(BrokenRecord, match="key of another"):
        mirror_of(log, objects).sync()
    assert {name: before[name] for name in objects.held} == objects.held


def test_a_log_that_was_set_back_does_not_set_the_copy_back(sqlite: Engine, tmp_path: Path) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, 0)
    old = log.checkpoint()
    grown(log, 1)
    mirror_of(log, objects).sync()
    before = dict(objects.held)
    log.files.publish(old)
    with pytest.raises(BrokenRecord, match="set back"):
        mirror_of(log, objects).sync()
    assert objects.held == before


def test_what_is_purged_goes_from_the_bucket_and_the_rest_verifies(
    sqlite: Engine, tmp_path: Path
) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, *range(10))
    mirror_of(log, objects).sync()  # parts of the first bundle
    grown(log, *range(10, 2 * WIDTH + 5))
    mirror = mirror_of(log, objects)
    mirror.sync()
    purge(log, WIDTH)
    failing = FailingObjects(objects, 99, Crash(), after=False)
    for process in (mirror, mirror_of(log, failing)):
        process.sync()
    assert not [name for name in objects.held if name.startswith("log/tile/entries/000")]
    assert "log/tile/0/000" in objects.held
    verified = verify_files(LogObjects(objects), log.public_key())
    assert (verified.size, verified.purged) == (2 * WIDTH + 6, WIDTH)


def purge(log: AuditLog, end: int) -> None:
    event = Event("log.purged", ACTOR, {"first": 0, "last": end - 1}, {})
    with writing(log.rows.engine) as connection:
        connection.execute(insert(tables.audit_outbox).values(event=event.canonical().decode()))
    log.integrate()
    log.rows.drop(end)
    log.files.drop_entries(end)


def test_a_bucket_that_does_not_answer_stops_nothing_and_is_told_once(
    sqlite: Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_mirror, "_LEAST_REST_SECONDS", 0.0)
    monkeypatch.setattr(log_mirror, "_MOST_REST_SECONDS", 0.0)
    objects = MemoryObjects()
    failing = FailingObjects(objects, 0, Unavailable("It does not answer."), after=False)
    log = log_of(tmp_path, sqlite, failing, LogRole.HERE)
    mirror, sequencer = log.mirror, Sequencer(log)
    assert mirror is not None
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            put(sqlite, number)
            failing._left, failing.failed = 0, False
            assert sequencer.once()
            mirror.wait()
            assert failing.failed
    told = [each for each in caplog.messages if "copy in the bucket" in each]
    assert len(told) == 1
    assert mirror.lacks() == 4
    assert sequencer.once()  # it is reached again
    mirror.wait()
    assert mirror.lacks() == 0
    assert counted(objects) == 4


def test_one_process_at_a_time_copies(sqlite: Engine, tmp_path: Path) -> None:
    objects = MemoryObjects()
    log = log_of(tmp_path, sqlite, objects, LogRole.HERE)
    grown(log, 0)
    one, two = mirror_of(log, objects), mirror_of(log, objects)
    with one._turn() as mine:
        assert mine
        assert not two.sync()
        assert not objects.held
    assert two.sync()


def test_a_failure_of_any_kind_in_a_thread_leaves_the_checkpoint_out(
    sqlite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would count what is not there."""
    monkeypatch.setattr(log_mirror, "_LEAST_EACH", 1)
    failed = threading.Event()

    class Odd(MemoryObjects):
        def put(self, key: str, data: bytes) -> None:
            if threading.current_thread() is not threading.main_thread():
                failed.set()
                raise RuntimeError("of no kind that was foreseen")
            assert failed.wait(60)
            super().put(key, data)

    objects = Odd()
    log = log_of(tmp_path, sqlite, None, LogRole.HERE)
    grown(log, *range(WIDTH + 2))
    with pytest.raises(RuntimeError):
        mirror_of(log, objects).sync()
    assert counted(objects) == 0


def test_a_failure_of_any_kind_is_told_and_not_tried_again_at_once(
    sqlite: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    class Odd(MemoryObjects):
        def get(self, key: str) -> bytes:
            tries.append(key)
            raise RuntimeError("of no kind that was foreseen")

    log = log_of(tmp_path, sqlite, None, LogRole.HERE)
    grown(log, 0)
    mirror = mirror_of(log, Odd())
    for _ in range(2):
        mirror.soon()
        mirror.wait()
    assert len(tries) == 1
    assert "foreseen" in caplog.text

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Engine, delete, event, insert, select, update

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, Misconfigured, NotFound, Unavailable
from loop.event_query import EventQuery
from loop.events import Actor, Event, Role
from loop.merkle import EMPTY_ROOT
from store import audit_log, log_files, tables
from store.audit_log import AuditLog, open_audit_log
from store.audit_rows import Head, Waiting
from store.database import open_engine, reading, writing
from store.log_files import LogFiles
from store.log_key import LogKey
from store.settings import Settings
from tests.store.logs import (
    Crash,
    an_event,
    log_in,
    numbers_in,
    put,
    sqlite_log,
    until_none_fails,
    waiting,
)

COLUMNS = tables.audit_log.c


def change(engine: Engine, *statements: Any) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def log(engine: Engine, tmp_path: Path) -> AuditLog:
    return log_in(tmp_path, engine)


@pytest.fixture
def five(engine: Engine, log: AuditLog) -> AuditLog:
    put(engine, *range(5))
    log.integrate()
    return log


def test_who_adds_to_the_log_comes_to_an_end_however_fast_events_come(log: AuditLog) -> None:
    waiting, numbers = log.rows.waiting, iter(range(1, 100))

    def one_more(limit: int) -> list[Waiting]:
        found = waiting(limit)
        put(log.rows.engine, next(numbers))
        return found

    put(log.rows.engine, 0)
    log.rows.waiting = one_more  # type: ignore[method-assign]
    assert log.integrate() <= 2
    log.rows.waiting = waiting  # type: ignore[method-assign]
    log.integrate()
    assert numbers_in(log) == list(range(next(numbers)))


def test_an_empty_log_verifies(log: AuditLog) -> None:
    assert log.head() == Head(0, EMPTY_ROOT.hex())
    assert log.verify().size == 0
    assert log.integrate() == 0
    assert log.tail(10) == []
    with pytest.raises(NotFound):
        log.checkpoint()
    with pytest.raises(NotFound):
        log.prove(0)


def test_events_move_from_the_outbox_into_the_log_in_order(engine: Engine, log: AuditLog) -> None:
    put(engine, 0, 1)
    put(engine, 2)
    assert log.integrate() == 3
    assert (numbers_in(log), waiting(engine)) == ([0, 1, 2], 0)
    put(engine, 3)
    assert numbers_in(log) == [0, 1, 2, 3]  # who reads finds all that was committed
    assert log.verify().size == 4


def test_the_files_hold_the_canonical_bytes_of_the_events(five: AuditLog) -> None:
    assert list(five.files.entries(5)) == [entry.data for entry in five.tail(5)]
    assert [entry.event.canonical() for entry in five.tail(5)] == list(five.files.entries(5))


def test_many_events_move_in_several_batches(
    engine: Engine, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_BATCH", 3)
    put(engine, *range(10))
    assert log.integrate() == 10
    assert numbers_in(log) == list(range(10))
    assert log.verify().size == 10


def test_every_entry_can_be_proved_to_the_newest_checkpoint(five: AuditLog) -> None:
    key = five.key.signer().key
    for index in range(5):
        proof = five.prove(index)
        assert proof.checkpoint.signed_by(key)
        assert proof.check(five.get(index).data).size == 5
        with pytest.raises(BrokenRecord):
            proof.check(five.get((index + 1) % 5).data)
    for index in (-1, 5):
        with pytest.raises(NotFound):
            five.prove(index)


def test_the_tail_is_the_latest_events_oldest_first(five: AuditLog) -> None:
    assert [entry.index for entry in five.tail(2)] == [3, 4]
    assert [entry.index for entry in five.tail(99)] == [0, 1, 2, 3, 4]


def test_an_event_is_found_by_index_and_by_id(five: AuditLog) -> None:
    assert five.get(3) == five.get("event3")
    assert five.get(3).event.subject == {"number": 3}


@pytest.mark.parametrize("which", [5, -1, 2**63, 2**70, "event9", "", "event", "%", "vent1"])
def test_an_event_that_is_not_there_is_not_found(five: AuditLog, which: int | str) -> None:
    with pytest.raises(NotFound):
        five.get(which)


def test_events_are_found_by_whom_what_and_when(engine: Engine, log: AuditLog) -> None:
    model = {"name": "detector", "version": "3"}
    made = [
        Event("case.opened", Actor("ana", Role.REVIEWER), {"review_id": "k1"}),
        Event("case.skipped", Actor("ben", Role.REVIEWER), {"review_id": "k1"}),
        Event("case.opened", Actor("ana", Role.REVIEWER), {"review_id": "k2"}),
        Event("model.served", Actor("ben", Role.ENGINEER), {"model": model}, request_id="r1"),
        Event("fold.ended", Actor("eve", Role.ENGINEER), {"fold_run_id": "run7"}, cause="e0"),
        Event("folds.made", Actor("eve", Role.ENGINEER), {"candidate": {"model": model}}),
    ]
    texts = [each.canonical().decode() for each in made]
    change(engine, insert(tables.audit_outbox).values([{"event": text} for text in texts]))

    def found(query: EventQuery, limit: int = 9, before: int | None = None) -> list[int]:
        return [entry.index for entry in log.find(query, limit=limit, before=before)]

    assert found(EventQuery()) == [0, 1, 2, 3, 4, 5]
    assert found(EventQuery(about=(("person", "ana"),))) == [0, 2]
    assert found(EventQuery(about=(("person", "ana"), ("case", "k1")))) == [0]
    assert found(EventQuery(about=(("model", "detector/3"),))) == [3, 5]
    assert found(EventQuery(about=(("run", "run7"),))) == [4]
    assert found(EventQuery(about=(("cause", "e0"),))) == [4]
    assert found(EventQuery(about=(("request", "r1"),))) == [3]
    assert found(EventQuery(types=("case",))) == [0, 1, 2]
    assert found(EventQuery(types=("fold", "case.skipped"))) == [1, 4]
    assert found(EventQuery(since=made[3].at)) == [i for i in range(6) if made[i].at >= made[3].at]
    assert found(EventQuery(until="1999")) == []
    assert found(EventQuery(), limit=2) == [4, 5]
    assert found(EventQuery(), limit=2, before=4) == [2, 3]
    assert found(EventQuery(about=(("person", "' OR 1=1"),), types=("%",))) == []


def test_opening_the_log_makes_what_it_needs(tmp_path: Path) -> None:
    log = open_audit_log(Settings(home=tmp_path / "home", database_url="", audit_origin="a.org/l"))
    assert log.verify().size == 0
    put(log.rows.engine, 0)
    assert Checkpoint.parse(log.checkpoint().text).origin == "a.org/l"
    key = tmp_path / "home/keys/log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home/keys/log.vkey").read_text().strip() == str(log.key.public())


def test_a_crash_at_any_statement_neither_loses_nor_doubles_an_event(
    database_url: str, engine: Engine, log: AuditLog, tmp_path: Path
) -> None:
    put(engine, 0)
    log.integrate()

    def once(step: int) -> bool:
        put(engine, 2 * step + 1, 2 * step + 2)
        crashing, statements = open_engine(database_url), iter(range(step))

        def crash(*_: object) -> None:
            if next(statements, None) is None:
                raise Crash

        event.listen(crashing, "before_cursor_execute", crash)
        event.listen(crashing, "commit", crash)
        try:
            log_in(tmp_path, crashing).integrate()
            crashed = False
        except Crash:
            crashed = True
        crashing.dispose()
        log.integrate()
        assert numbers_in(log) == list(range(2 * step + 3))
        assert log.verify().size == 2 * step + 3
        assert waiting(engine) == 0
        return crashed

    assert until_none_fails(once) > 5


@pytest.mark.parametrize("error", [Crash(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("first", [0, 250])
def test_whatever_call_to_the_disk_fails_nothing_is_lost_and_the_log_goes_on(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    first: int,
) -> None:
    log = log_in(tmp_path, engine)
    if first:
        put(engine, *range(first))
        log.integrate()
    before = numbers_in(log)

    def once(step: int) -> bool:
        put(engine, 10_000 + step, 20_000 + step)
        failed = False
        with Failing(monkeypatch, step, error):
            try:
                log.integrate()
            except Crash:
                failed = True
            except Unavailable as told:
                failed = True
                assert "No space left on device" in told.message
                assert "No space left on device" in log.failure()
        before.extend([10_000 + step, 20_000 + step])
        assert numbers_in(log) == before
        assert log.verify().size == len(before)
        assert log.failure() == ""
        return failed

    assert until_none_fails(once) > 10


class Failing:
    """The call number ``at`` of those that change the log's files raises ``error``; of a write, a
    half is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self._patch, self._at, self._error, self._calls = monkeypatch, at, error, 0

    def __enter__(self) -> None:
        self._context = self._patch.context()
        patched = self._context.__enter__()
        real_open = Path.open

        def opening(path: Path, *arguments: Any, **options: Any) -> Any:
            if arguments[:1] != ("wb",):
                return real_open(path, *arguments, **options)
            self._count()
            file = real_open(path, *arguments, **options)
            return _Writes(file, self._count)

        patched.setattr(Path, "open", opening)
        patched.setattr(log_files.os, "fsync", self._counted(log_files.os.fsync))
        patched.setattr(Path, "replace", self._counted(Path.replace))

    def __exit__(self, *exc: object) -> None:
        self._context.__exit__(*exc)

    def _count(self) -> None:
        self._calls += 1
        if self._calls - 1 == self._at:
            raise self._error

    def _counted(self, real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            self._count()
            return real(*arguments)

        return call


class _Writes:
    def __init__(self, file: Any, count: Any) -> None:
        self._file, self._count = file, count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        try:
            self._count()
        except BaseException:
            self._file.write(data[: len(data) // 2])
            raise
        self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_sequencers_at_the_same_time_move_each_event_once(
    database_url: str, tmp_path: Path
) -> None:
    failures: list[BaseException] = []

    def work(first: int) -> None:
        engine = open_engine(database_url)
        try:
            for number in range(first, first + 5):
                put(engine, number)
                log_in(tmp_path, engine).integrate()
        except BaseException as error:
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=work, args=(10 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine = open_engine(database_url)
    log = log_in(tmp_path, engine)
    assert sorted(numbers_in(log)) == [10 * each + n for each in range(4) for n in range(5)]
    assert log.verify().size == 20
    engine.dispose()


def detection(log: AuditLog) -> str:
    with pytest.raises(BrokenRecord) as caught:
        log.verify()
    return caught.value.message


def refusal(log: AuditLog) -> str:
    """Why nothing is added to it."""
    put(log.rows.engine, 99)
    with pytest.raises(LoopError) as caught:
        log.integrate()
    assert caught.value.hint
    assert waiting(log.rows.engine) == 1
    assert log.failure() == caught.value.message
    return caught.value.message


@pytest.mark.parametrize("index", range(5))
def test_an_entry_that_is_gone_from_the_database_is_noticed(
    engine: Engine, five: AuditLog, index: int
) -> None:
    change(engine, delete(tables.audit_log).where(COLUMNS["index"] == index))
    assert f"Entry {index} is missing" in detection(five)


def test_an_entry_that_was_changed_in_the_database_is_named(engine: Engine, five: AuditLog) -> None:
    text = an_event(7).canonical().decode()
    change(engine, update(tables.audit_log).where(COLUMNS["index"] == 2).values(event=text))
    assert "Entry 2 was changed in the database" in detection(five)


@pytest.mark.parametrize("index", [-1, 5, 6, 1000])
def test_an_entry_that_was_added_in_the_database_is_noticed(
    engine: Engine, five: AuditLog, index: int
) -> None:
    row = {"event": an_event(9).canonical().decode(), "event_id": "event9"}
    row |= {"type": "test.happened", "at": "", "actor": ""}
    change(engine, insert(tables.audit_log).values({"index": index} | row))
    assert "Entry" in detection(five)


def test_a_head_that_is_gone_or_changed_is_noticed(engine: Engine, five: AuditLog) -> None:
    change(engine, update(tables.audit_head).values(root="0" * 64))
    assert "nothing is added" in refusal(five)
    change(engine, delete(tables.audit_head))
    assert "head" in detection(five)


def test_a_database_that_was_set_back_is_noticed_and_not_built_upon(
    engine: Engine, five: AuditLog
) -> None:
    with reading(engine) as connection:
        old = dict(connection.execute(select(tables.audit_head)).mappings().one())
    put(engine, 5, 6)
    five.integrate()
    change(
        engine,
        delete(tables.audit_log).where(COLUMNS["index"] >= 5),
        update(tables.audit_head).values(size=old["size"], root=old["root"]),
    )
    assert "set back" in refusal(five)


def test_files_that_were_set_back_are_noticed_and_not_built_upon(
    engine: Engine, five: AuditLog, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    put(engine, *range(5, 300))
    five.integrate()
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "old").rename(tmp_path / "log")
    assert "of the log is not there" in refusal(five)


def test_another_key_is_noticed(five: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "keys/log.key").unlink()
    with pytest.raises(Misconfigured):
        put(five.rows.engine, 9)
        five.integrate()
    other = LogKey(tmp_path / "other.key").signer().key
    with pytest.raises(LoopError):
        five.verify(other)


def test_what_is_no_event_does_not_leave_the_outbox(engine: Engine, five: AuditLog) -> None:
    change(engine, insert(tables.audit_outbox).values(event="{}"))
    with pytest.raises(BrokenRecord) as caught:
        five.integrate()
    assert "outbox" in caught.value.message
    change(engine, delete(tables.audit_outbox))
    assert five.verify().size == 5


def test_where_the_files_are_not_one_waits_for_whoever_has_them(
    engine: Engine, five: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = AuditLog(engine, LogFiles(tmp_path / "none" / "log"), LogKey(tmp_path / "none/k"))
    put(engine, 5)
    timer = threading.Timer(0.1, five.integrate)
    timer.start()
    assert elsewhere.get("event5").index == 5
    timer.join()
    monkeypatch.setattr(audit_log, "_WAIT_SECONDS", 0.05)
    put(engine, 6)
    with pytest.raises(Unavailable, match="stands still"):
        elsewhere.tail(1)
    assert "nobody else adds" in five.failure()
    assert not (tmp_path / "none").exists()
    assert five.integrate() == 1
    assert five.failure() == ""


@pytest.fixture
def unfinished(five: AuditLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditLog]:
    """Killed after the database counted an entry, before the checkpoint did."""
    put(five.rows.engine, 5)
    with monkeypatch.context() as patched:

        def killed(*_: Any) -> None:
            raise Crash

        patched.setattr(LogFiles, "publish", killed)
        with pytest.raises(Crash):
            five.integrate()
    yield five


def test_what_was_counted_is_published_by_the_next_one(unfinished: AuditLog) -> None:
    assert Checkpoint.parse(unfinished.checkpoint().text).size == 6
    assert unfinished.verify().size == 6


def test_after_an_older_database_was_restored_the_log_goes_on_from_its_files(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    log = sqlite_log(home, 300)
    log.rows.engine.dispose()
    shutil.copyfile(home / "second-look.db", tmp_path / "backup.db")
    put(log.rows.engine, 300, 301)
    log.integrate()
    log.rows.engine.dispose()
    shutil.copyfile(tmp_path / "backup.db", home / "second-look.db")
    again = sqlite_log(home)
    lost = log.files.entries(302)
    with writing(again.rows.engine) as connection:  # as if it had been in work at that time
        text = [entry.decode() for entry in lost][300]
        connection.execute(insert(tables.audit_outbox).values(event=text))
    put(again.rows.engine, 900)
    with pytest.raises(BrokenRecord, match="set back"):
        again.integrate()
    assert again.reindex().size == 302
    kept = [entry.event for entry in again.tail(4)]
    assert [event.id for event in kept[:3]] == ["event300", "event301", "event900"]
    assert kept[3].type == "log.reindexed"
    assert kept[3].details == {"entries_before": 300, "found_in_outbox": 1}
    assert again.failure() == ""
    assert again.verify().size == 304
    assert [entry.index for entry in again.find(about("person", "ana"), limit=2)] == [301, 302]


def test_a_copy_that_was_changed_is_made_anew(engine: Engine, five: AuditLog) -> None:
    change(engine, update(tables.audit_log).where(COLUMNS["index"] == 2).values(actor="x"))
    change(engine, delete(tables.audit_log).where(COLUMNS["index"] == 3))
    detection(five)
    five.reindex()
    assert five.verify().size == 6
    assert five.get("event3").index == 3


def test_files_that_are_damaged_or_not_there_are_no_ground_to_build_on(
    five: AuditLog, tmp_path: Path
) -> None:
    bundle = tmp_path / "log/tile/entries/000.p/5"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b"happened", b"appeared", 1))
    with pytest.raises(BrokenRecord, match="Entry 0 was changed"):
        five.reindex()
    bundle.write_bytes(whole)
    assert five.verify().size == 5
    with pytest.raises(NotFound):
        sqlite_log(tmp_path / "other").reindex()


def about(kind: str, value: str) -> EventQuery:
    return EventQuery(about=((kind, value),))

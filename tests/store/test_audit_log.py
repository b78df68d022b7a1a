from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Engine,
    LargeBinary,
    Text,
    cast,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    update,
)

from loop.errors import BrokenRecord, NotFound
from loop.events import GENESIS_SHA256, Actor, Event, Role, chain_sha256
from store import audit_log, tables
from store.audit_log import AuditLog, Head, open_audit_log
from store.database import migrate, open_engine, reading, writing
from store.settings import Settings

ACTOR = Actor("ana", Role.REVIEWER)
COLUMNS = tables.audit_log.c


def an_event(number: int) -> Event:
    return Event("test.happened", ACTOR, {"number": number}, {"note": "grün"}, id=f"event{number}")


def put(engine: Engine, *numbers: int) -> None:
    """Into the outbox, in a transaction of their own."""
    rows = [{"event": an_event(number).canonical().decode()} for number in numbers]
    with writing(engine) as connection:
        connection.execute(insert(tables.audit_outbox), rows)


def numbers_in(log: AuditLog) -> list[int]:
    return [entry.event.subject["number"] for entry in log.tail(10_000)]


def waiting(engine: Engine) -> int:
    with reading(engine) as connection:
        query = select(func.count()).select_from(tables.audit_outbox)
        return connection.execute(query).scalar_one()


def change(engine: Engine, *statements: Any) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def log(engine: Engine) -> AuditLog:
    return AuditLog(engine)


@pytest.fixture
def five(engine: Engine, log: AuditLog) -> AuditLog:
    put(engine, *range(5))
    log.integrate()
    return log


def test_an_empty_log_verifies(log: AuditLog) -> None:
    assert log.verify() == log.head() == Head(0, GENESIS_SHA256)
    assert log.integrate() == 0
    assert log.tail(10) == []


def test_events_move_from_the_outbox_into_the_log_in_order(engine: Engine, log: AuditLog) -> None:
    put(engine, 0, 1)
    put(engine, 2)
    assert log.integrate() == 3
    assert numbers_in(log) == [0, 1, 2]
    assert waiting(engine) == 0
    assert log.integrate() == 0


def test_the_chain_is_the_one_that_is_documented(five: AuditLog) -> None:
    sha256 = "0" * 64
    for index in range(5):
        entry = five.get(index)
        raw = bytes.fromhex(sha256) + entry.event.canonical()
        sha256 = hashlib.sha256(raw).hexdigest()
        assert (entry.index, entry.entry_sha256) == (index, sha256)
    assert five.verify() == five.head() == Head(5, sha256)


def test_many_events_move_in_batches(
    engine: Engine, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_BATCH", 3)
    put(engine, *range(7))
    assert log.integrate() == 7
    assert numbers_in(log) == list(range(7))
    assert log.verify().size == 7


def test_the_tail_is_the_latest_events_oldest_first(five: AuditLog) -> None:
    assert [entry.index for entry in five.tail(2)] == [3, 4]


def test_an_event_is_found_by_index_and_by_id(five: AuditLog) -> None:
    assert five.get(3) == five.get("event3")
    assert five.get(3).event.subject == {"number": 3}


@pytest.mark.parametrize("which", [5, -1, 2**80, "event9", "", "%", 'x"', "event\\"])
def test_an_event_that_is_not_there_is_not_found(five: AuditLog, which: int | str) -> None:
    with pytest.raises(NotFound) as caught:
        five.get(which)
    assert caught.value.hint


def test_an_id_inside_another_event_is_not_taken_for_the_event(
    engine: Engine, log: AuditLog
) -> None:
    about = Event("test.happened", ACTOR, {"id": "wanted"}, id="other")
    wanted = Event("test.happened", ACTOR, {}, id="wanted")
    rows = [{"event": each.canonical().decode()} for each in (about, wanted)]
    with writing(engine) as connection:
        connection.execute(insert(tables.audit_outbox), rows)
    log.integrate()
    assert log.get("wanted").index == 1


def test_opening_the_log_makes_what_it_needs(tmp_path: Path) -> None:
    log = open_audit_log(Settings(home=tmp_path / "home", database_url=""))
    assert log.verify().size == 0


class Crash(Exception):
    """Stands for the power going off."""


def test_a_crash_at_any_statement_neither_loses_nor_doubles_an_event(
    database_url: str, engine: Engine, log: AuditLog
) -> None:
    put(engine, 0)
    log.integrate()
    for step in range(100):
        put(engine, 2 * step + 1, 2 * step + 2)
        crashing, statements = open_engine(database_url), iter(range(step))

        def crash(*_: object, statements: Iterator[int] = statements) -> None:
            if next(statements, None) is None:
                raise Crash

        event.listen(crashing, "before_cursor_execute", crash)
        event.listen(crashing, "commit", crash)
        try:
            AuditLog(crashing).integrate()
        except Crash:
            crashed = True
        else:
            crashed = False
        crashing.dispose()
        log.integrate()
        assert numbers_in(log) == list(range(2 * step + 3))
        assert log.verify().size == 2 * step + 3
        assert waiting(engine) == 0
        if not crashed:
            assert step > 5
            return
    pytest.fail("It crashed at every step.")


def test_sequencers_at_the_same_time_move_each_event_once(database_url: str) -> None:
    failures: list[BaseException] = []

    def work(first: int) -> None:
        engine = open_engine(database_url)
        try:
            for number in range(first, first + 5):
                put(engine, number)
                AuditLog(engine).integrate()
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
    log = AuditLog(engine)
    assert sorted(numbers_in(log)) == [10 * each + n for each in range(4) for n in range(5)]
    assert log.verify().size == 20
    engine.dispose()


def test_verifying_checks_what_is_added_meanwhile(
    engine: Engine, five: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adding(row: Any, index: int, previous: str) -> str:
        if index == 4:
            monkeypatch.setattr(audit_log, "_checked", checked)
            put(engine, 5)
            five.integrate()
        return checked(row, index, previous)

    checked = audit_log._checked
    monkeypatch.setattr(audit_log, "_checked", adding)
    assert five.verify().size == 6


def forged(index: int, number: int, previous: str) -> dict[str, Any]:
    """An entry that is right in itself."""
    text = an_event(number).canonical()
    return {
        "index": index,
        "event": text.decode(),
        "previous_sha256": previous,
        "sha256": chain_sha256(previous, text),
    }


def detection(log: AuditLog) -> str:
    with pytest.raises(BrokenRecord) as caught:
        log.verify()
    assert caught.value.hint
    return caught.value.message


def test_a_changed_event_is_named(engine: Engine, five: AuditLog) -> None:
    text = an_event(7).canonical().decode()
    change(engine, update(tables.audit_log).where(COLUMNS["index"] == 2).values(event=text))
    assert "Entry 2 was changed" in detection(five)


def test_a_changed_event_with_its_digest_made_anew_is_noticed_at_the_next(
    engine: Engine, five: AuditLog
) -> None:
    row = forged(2, 7, five.get(1).entry_sha256)
    change(engine, update(tables.audit_log).where(COLUMNS["index"] == 2).values(**row))
    assert "Entry 3 does not follow" in detection(five)


def test_a_changed_last_event_with_its_digest_made_anew_is_noticed_by_the_head(
    engine: Engine, five: AuditLog
) -> None:
    row = forged(4, 7, five.get(3).entry_sha256)
    change(engine, update(tables.audit_log).where(COLUMNS["index"] == 4).values(**row))
    assert "head" in detection(five)


@pytest.mark.parametrize("index", range(5))
def test_a_deleted_entry_is_noticed(engine: Engine, five: AuditLog, index: int) -> None:
    change(engine, delete(tables.audit_log).where(COLUMNS["index"] == index))
    assert f"Entry {index} is missing" in detection(five)


def test_a_cut_tail_is_noticed_and_not_built_upon(engine: Engine, five: AuditLog) -> None:
    change(engine, delete(tables.audit_log).where(COLUMNS["index"] >= 3))
    put(engine, 5)
    with pytest.raises(BrokenRecord) as caught:
        five.integrate()
    assert "nothing is added" in caught.value.message
    assert waiting(engine) == 1
    assert "Entry 3 is missing" in detection(five)


def test_a_whole_log_that_is_gone_is_noticed(engine: Engine, five: AuditLog) -> None:
    change(engine, delete(tables.audit_log))
    assert "Entry 0 is missing" in detection(five)


def test_a_head_that_is_gone_is_noticed(engine: Engine, five: AuditLog) -> None:
    change(engine, delete(tables.audit_head))
    assert "head is gone" in detection(five)


@pytest.mark.parametrize("index", [-1, 5, 6, 1000])
def test_an_inserted_entry_is_noticed(engine: Engine, five: AuditLog, index: int) -> None:
    change(engine, insert(tables.audit_log).values(forged(index, 9, five.head().sha256)))
    assert "Entry" in detection(five)


def test_an_entry_in_an_empty_log_is_noticed(engine: Engine, log: AuditLog) -> None:
    change(engine, insert(tables.audit_log).values(forged(0, 0, GENESIS_SHA256)))
    assert "Entry 0 was added" in detection(log)


@pytest.mark.parametrize("bad", ["{}", "not json", '{"id": "spaces"}', "[]"])
def test_what_is_no_event_is_noticed_even_in_a_whole_chain(
    engine: Engine, log: AuditLog, bad: str
) -> None:
    sha256 = chain_sha256(GENESIS_SHA256, bad.encode())
    row = {"index": 0, "event": bad, "previous_sha256": GENESIS_SHA256, "sha256": sha256}
    change(
        engine,
        insert(tables.audit_log).values(row),
        update(tables.audit_head).values(size=1, sha256=sha256),
    )
    assert "Entry 0" in detection(log)


def test_an_event_that_is_not_canonical_is_noticed_even_in_a_whole_chain(
    engine: Engine, log: AuditLog
) -> None:
    bad = an_event(0).canonical().decode().replace(",", ", ", 1)
    sha256 = chain_sha256(GENESIS_SHA256, bad.encode())
    row = {"index": 0, "event": bad, "previous_sha256": GENESIS_SHA256, "sha256": sha256}
    change(
        engine,
        insert(tables.audit_log).values(row),
        update(tables.audit_head).values(size=1, sha256=sha256),
    )
    assert "canonical" in detection(log)


def test_what_is_no_event_does_not_leave_the_outbox(engine: Engine, five: AuditLog) -> None:
    change(engine, insert(tables.audit_outbox).values(event="{}"))
    with pytest.raises(BrokenRecord) as caught:
        five.integrate()
    assert "outbox" in caught.value.message
    assert five.verify().size == 5


# What follows forges a SQLite file byte by byte, which PostgreSQL's types do not let happen.


def sqlite_log(folder: Path, size: int) -> Engine:
    engine = open_engine(f"sqlite:///{folder}/second-look.db")
    # Thousands of changes follow: how they reach the disk is not what is tested here.
    event.listen(engine, "connect", lambda file, _: file.execute("PRAGMA synchronous=OFF"))
    migrate(engine)
    put(engine, *range(size))
    AuditLog(engine).integrate()
    return engine


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = sqlite_log(tmp_path_factory.mktemp("two"), 2)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def file_of_six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = sqlite_log(tmp_path_factory.mktemp("six"), 6)
    yield engine
    engine.dispose()


LENGTH = len(an_event(0).canonical())


@pytest.mark.parametrize("index", [0, 1])
def test_a_flip_of_any_byte_of_any_event_is_noticed(file: Engine, index: int) -> None:
    original = AuditLog(file).get(index).event.canonical()
    assert len(original) == LENGTH
    for place in range(LENGTH):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            data = bytearray(original)
            data[place] ^= flip
            with changed(file, index, "event", bytes(data)):
                assert f"Entry {index} was changed" in detection(AuditLog(file))
    assert AuditLog(file).verify().size == 2


@pytest.mark.parametrize("column", ["previous_sha256", "sha256"])
@pytest.mark.parametrize("index", [0, 1])
def test_a_flip_of_any_byte_of_a_digest_is_noticed(file: Engine, index: int, column: str) -> None:
    with reading(file) as connection:
        query = select(COLUMNS[column]).where(COLUMNS["index"] == index)
        original = connection.execute(query).scalar_one().encode()
    for place in range(len(original)):
        for flip in (0x01, 0x20, 0x80):
            data = bytearray(original)
            data[place] ^= flip
            with changed(file, index, column, bytes(data)):
                assert f"Entry {index}" in detection(AuditLog(file))


@contextmanager
def changed(engine: Engine, index: int, column: str, data: bytes) -> Iterator[None]:
    """Other bytes in a text column, for the time of a block."""
    with reading(engine) as connection:
        before = [dict(row) for row in connection.execute(select(tables.audit_log)).mappings()]
    entry = update(tables.audit_log).where(COLUMNS["index"] == index)
    change(engine, entry.values({column: cast(literal(data, LargeBinary), Text)}))
    yield
    replace_rows(engine, before)


Forgery = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@st.composite
def forgeries(draw: st.DrawFn, size: int = 6) -> Forgery:
    """Something done to the rows of a log of ``size`` entries, by one who leaves the head alone."""
    place = draw(st.integers(0, size - 1))
    other = draw(st.integers(0, size - 1).filter(lambda index: index != place))
    number = draw(st.integers(100, 999))
    rechain = draw(st.booleans())

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[place]["event"] = an_event(number).canonical().decode()
        return rows

    def delete(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return rows[:place] + rows[place + 1 :]

    def swap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[place]["event"], rows[other]["event"] = rows[other]["event"], rows[place]["event"]
        return rows

    def put_in(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        new = {**rows[place], "event": an_event(number).canonical().decode()}
        return [*rows[:place], new, *rows[place:]]

    def cut(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return rows[:place]

    def repeat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*rows, dict(rows[place])]

    tamper = draw(st.sampled_from([change, delete, swap, put_in, cut, repeat]))

    def forge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = tamper(rows)
        previous = GENESIS_SHA256
        for index, row in enumerate(rows):
            row["index"] = index
            if rechain:
                row["previous_sha256"] = previous
                row["sha256"] = previous = chain_sha256(previous, row["event"].encode())
        return rows

    return forge


@settings(deadline=None)
@given(forge=forgeries())
def test_whatever_is_changed_deleted_swapped_inserted_or_cut_is_noticed(
    file_of_six: Engine, forge: Forgery
) -> None:
    with reading(file_of_six) as connection:
        query = select(tables.audit_log).order_by(COLUMNS["index"])
        before = [dict(row) for row in connection.execute(query).mappings()]
    after = forge([dict(row) for row in before])
    assert after != before
    replace_rows(file_of_six, after)
    try:
        detection(AuditLog(file_of_six))
    finally:
        replace_rows(file_of_six, before)


def replace_rows(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with writing(engine) as connection:
        connection.execute(delete(tables.audit_log))
        if rows:
            connection.execute(insert(tables.audit_log), rows)

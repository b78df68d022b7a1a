"""Audit logs to test on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, func, insert, select

from loop.events import Actor, Event, Role
from store import tables
from store.audit_log import AuditLog
from store.database import migrate, open_engine, reading, writing
from store.log_files import LogFiles
from store.log_key import LogKey

ACTOR = Actor("ana", Role.REVIEWER)


def log_in(folder: Path, engine: Engine) -> AuditLog:
    return AuditLog(engine, LogFiles(folder / "log"), LogKey(folder / "keys" / "log.key"))


def sqlite_log(folder: Path, size: int = 0) -> AuditLog:
    """One with ``size`` entries, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(f"sqlite:///{folder}/second-look.db")
    migrate(engine)
    log = log_in(folder, engine)
    if size:
        put(engine, *range(size))
        log.integrate()
    return log


def an_event(number: int) -> Event:
    return Event("test.happened", ACTOR, {"number": number}, {"note": "grün"}, id=f"event{number}")


def put(engine: Engine, *numbers: int) -> None:
    """Into the outbox, in a transaction of their own."""
    rows = [{"event": an_event(number).canonical().decode()} for number in numbers]
    with writing(engine) as connection:
        connection.execute(insert(tables.audit_outbox), rows)


def numbers_in(log: AuditLog) -> list[int]:
    return [entry.event.subject["number"] for entry in log.tail(100_000)]


def waiting(engine: Engine) -> int:
    with reading(engine) as connection:
        query = select(func.count()).select_from(tables.audit_outbox)
        return connection.execute(query).scalar_one()


class Crash(BaseException):
    """Stands for the power going off: nothing but the test catches it."""


def until_none_fails(once: Callable[[int], bool]) -> int:
    """``once`` fails at its step number so and so, and says whether it did; how many steps."""
    for step in itertools.count():
        if not once(step):
            return step
    raise AssertionError

"""Who may add to the log: one process at a time, for as long as it lives and not a moment longer.

Two locks, both of which go when their holder dies: on the log's folder (flock) for the processes of
this machine, and on the database (PostgreSQL's advisory locks) for those of others.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from loop.errors import Unavailable
from store.database import translated

# An arbitrary number, as the one of the database's writers.
_LOG_LOCK = 7_202_612
_PAUSE_SECONDS = 0.01
# flock is between open files, not between threads that share one through fork: one more for those.
_threads = threading.Lock()


@contextmanager
def lease(engine: Engine, file: Path, wait_seconds: float) -> Iterator[None]:
    """Raises `Unavailable` if the turn does not come within ``wait_seconds``."""
    deadline = time.monotonic() + wait_seconds
    with ExitStack() as stack:
        if not _threads.acquire(timeout=max(0.0, wait_seconds)):
            raise _busy()
        stack.callback(_threads.release)
        stack.enter_context(_of_file(file, deadline))
        if engine.dialect.name == "postgresql":
            stack.enter_context(_of_database(engine, deadline))
        yield


@contextmanager
def _of_file(file: Path, deadline: float) -> Iterator[None]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"The log cannot be written: {file}: {error.strerror}.",
            hint="Free some space, or see to it that this user may write there.",
        ) from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _pause(deadline)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # of a child that was forked meanwhile as well
        os.close(descriptor)


@contextmanager
def _of_database(engine: Engine, deadline: float) -> Iterator[None]:
    with translated(), engine.connect() as opened:
        connection = opened.execution_options(isolation_level="AUTOCOMMIT")
        while not connection.scalar(text(f"SELECT pg_try_advisory_lock({_LOG_LOCK})")):
            _pause(deadline)
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({_LOG_LOCK})"))


def _pause(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise _busy()
    time.sleep(_PAUSE_SECONDS)


def _busy() -> Unavailable:
    return Unavailable(
        "Another process is adding to the audit log, and does not come to an end.",
        hint="Try again. If it stays so: secondlook doctor.",
    )

"""Turns that processes on one machine take."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.05


@contextmanager
def turn(file: Path, seconds: float) -> Iterator[bool]:
    """Be the only one in such a block, for the same ``file``; whether that is so. After ``seconds``
    of waiting the block runs all the same."""
    deadline = time.monotonic() + seconds
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:  # freed with the file, whatever becomes of this process
        while not (mine := _taken(lock.fileno())) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        yield mine


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

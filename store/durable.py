"""Files and names that survive a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loop.errors import Unavailable


def sync(path: Path) -> None:
    """Put a file's bytes, or the names in a folder, on the disk before anything relies on them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(what: str, hint: str) -> Iterator[None]:
    """Turns an `OSError` into `Unavailable`: ``what`` does not work, why, and with which file."""
    try:
        yield
    except OSError as error:
        at_file = f" ({error.filename})" if error.filename else ""
        raise Unavailable(f"{what}: {error.strerror or error}{at_file}.", hint=hint) from error

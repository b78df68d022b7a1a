"""When a log's checkpoints are stamped (RFC 3161), and what the stamps that lie there show.

A stamp shows that the entries up to its checkpoint were there at a time that somebody else vouches
for: what was written anew later does not go on from it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.x509 import Certificate

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError
from loop.signed_notes import VerifierKey
from store.log_files import LogFiles, told
from store.log_reading import LogReader
from store.log_verify import Stamped, check_continues
from store.timestamps import check_timestamp, load_roots
from store.tsa_client import TsaClient

_logger = logging.getLogger(__name__)

# How often it is looked whether one is due.
_LOOK_SECONDS = 30.0
# After a failure, for all processes of this machine: authorities serve many.
_REST_SECONDS = 600.0


class LogTimestamps:
    """Without a ``client`` nothing is stamped, without ``roots`` nothing is checked."""

    def __init__(
        self,
        files: LogFiles,
        client: TsaClient | None = None,
        roots: Path | None = None,
        every: timedelta = timedelta(hours=24),
    ) -> None:
        self._files = files
        self._client = client
        self._roots = roots
        self._every = every
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rests_until = 0.0
        self._last_failure = ""
        self._tries = files.folder.with_name(f"{files.folder.name}.tsa")

    def soon(self) -> None:
        """See that the newest checkpoint is stamped if it is time. Returns at once: authorities may
        take long, and nobody waits for them."""
        with self._lock:
            now = time.monotonic()
            if self._client is None or now < self._rests_until:
                return
            if self._thread is None or not self._thread.is_alive():
                self._rests_until = now + _LOOK_SECONDS
                self._thread = threading.Thread(target=self._try, name="timestamp", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """For a stamp that is being asked for: of a process that ends."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def stamp(self) -> bool:
        """Have the newest checkpoint stamped, if it is time, and keep that; whether it was. Raises
        `Unavailable`, `BrokenRecord`."""
        note = self._files.checkpoint()
        if self._client is None or note is None:
            return False
        with self._turn() as mine:
            if not mine or not self._is_due(Checkpoint.parse(note.text).size):
                return False
            data = self._client.stamp(note.text)
            self._files.keep_timestamp(note, data)
            return True

    def check(
        self, sizes: Sequence[int], size: int, key: VerifierKey, read: LogReader | None = None
    ) -> Stamped:
        """The stamps of ``sizes``, ``read`` elsewhere if need be, and that the log of ``size``
        entries, which was verified, goes on from each stamped checkpoint. Raises `BrokenRecord` for
        the first that is wrong, `Misconfigured` if the roots cannot be read."""
        roots = load_roots(self._roots)
        if not roots or not sizes:
            return Stamped(len(sizes))
        at = None
        for stamped in sorted(sizes):
            try:
                at = _check(read or self._files, stamped, size, key, roots)
            except BrokenRecord as error:
                raise BrokenRecord(
                    f"The timestamp of {stamped} entries (timestamps/{stamped}.tsr) is wrong: "
                    f"{error.message}",
                    hint="Keep it, and the log, as they are. If the log is in order, look for the "
                    "authority's root certificate in the file of roots; else compare with a backup "
                    "and with an export.",
                ) from error
        return Stamped(len(sizes), max(sizes), at)

    def _try(self) -> None:
        try:
            self.stamp()
        except LoopError as error:
            with self._lock:
                self._rests_until = time.monotonic() + _REST_SECONDS
            if error.message != self._last_failure:
                _logger.warning("%s", error.message)
            self._last_failure = error.message
        else:
            self._last_failure = ""

    def _is_due(self, size: int) -> bool:
        newest = max(self._files.timestamps(), default=0)
        if size <= newest:
            return False
        if not newest:
            return True
        try:
            note, data = self._files.timestamp(newest)
            return datetime.now(UTC) - check_timestamp(data, note.text) >= self._every
        except BrokenRecord:
            return True  # it says nothing; `check` tells of it

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """One process at a time, and after a failure none for a while: the file has something in it
        since then."""
        with told(self._files.folder), self._opened() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            last = os.fstat(descriptor)
            if last.st_size and 0 <= time.time() - last.st_mtime < _REST_SECONDS:
                yield False
                return
            os.ftruncate(descriptor, 0)
            try:
                yield True
            except LoopError:
                os.write(descriptor, b"failed\n")
                raise

    @contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self._tries, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _check(
    files: LogReader, stamped: int, size: int, key: VerifierKey, roots: Sequence[Certificate]
) -> datetime:
    note, data = files.timestamp(stamped)
    found = Checkpoint.parse(note.text).size
    if found != stamped:
        raise BrokenRecord(f"The checkpoint beside it is of {found} entries.")
    at = check_timestamp(data, note.text, roots)
    check_continues(files, size, note, key)
    return at

"""A copy of the log's public files in a bucket, for those who do not share the disk that they are
on, and for anybody whom the bucket lets read: its layout is that of a log served as static files.

Whoever has the log makes it, beside what it does: nothing waits for a bucket. The copy's checkpoint
is put there last, so that it never counts what is not there, wherever this stops.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, NotFound
from loop.merkle import root_hash
from loop.signed_notes import Note, VerifierKey
from loop.tiles import WIDTH, Bundle, Tile, bundles_of, nodes_in, tiles_of
from store.log_files import LogFiles, told
from store.log_objects import FOLDER, KEY_FILE, bundle_objects
from store.log_reading import CHECKPOINT, stamp_paths
from store.log_verify import check_signatures
from store.objects import Objects

_logger = logging.getLogger(__name__)

_AT_ONCE, _LEAST_EACH = 8, 8
# After a failure, doubled with each one; the bucket's client has tried a few times by then.
_LEAST_REST_SECONDS, _MOST_REST_SECONDS = 1.0, 60.0
# How long a process that ends waits for it: another one, or the next, goes on where it stopped.
_LAST_SECONDS = 10.0
_HINT = (
    "Name another prefix in SECONDLOOK_STORAGE_URL, or find out who wrote there. Nothing was "
    "changed in it."
)

_T = TypeVar("_T")

# Before which number the entries of a log of so many are gone, on record.
PurgedIn = Callable[[int], int]


class LogMirror:
    def __init__(
        self,
        files: LogFiles,
        objects: Objects,
        key: Callable[[], VerifierKey],
        purged: PurgedIn,
    ) -> None:
        self._files = files
        self._objects = objects
        self._key = key
        self._purged = purged
        self._turns = files.folder.with_name(f"{files.folder.name}.mirror")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rests_until, self._rest = 0.0, 0.0
        self._last_failure = ""
        # What the bucket is known to have: the checkpoint, and the timestamps.
        self._there: tuple[str, tuple[int, ...]] | None = None
        self._dropped = 0

    def soon(self) -> None:
        """See that the bucket has what the log has. Returns at once."""
        with self._lock:
            if time.monotonic() < self._rests_until or not self._is_behind():
                return
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._try, name="log mirror", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """For what is being copied, for a while: of a process that ends."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(_LAST_SECONDS)

    def lacks(self) -> int:
        """How many of the log's entries the bucket does not have yet. Raises `BrokenRecord` if it
        has those of another log, `Unavailable` or `Misconfigured` if it cannot be told."""
        note = self._files.checkpoint()
        return 0 if note is None else Checkpoint.parse(note.text).size - self._size_there(note)

    def sync(self) -> bool:
        """Copy what the bucket does not have yet; False if another process is at it. Raises what
        the bucket does, and `BrokenRecord` rather than write over the copy of another log."""
        with told(self._files.folder), self._turn() as mine:
            if mine:
                self._sync()
            return mine

    def _sync(self) -> None:
        stamps = self._files.timestamps()  # before the checkpoint: of none that is newer
        note = self._files.checkpoint()
        if note is None:
            return
        size, since = Checkpoint.parse(note.text).size, self._size_there(note)
        purged = self._purged(size)
        self._put_key()
        bundles = bundles_of(size, since=since)
        kept = [each for each in bundles if each.index * WIDTH >= purged]
        self._put_all([*tiles_of(size, since=since), *kept])
        self._put_stamps(stamps)
        # With each signature that it got since.
        if self._find(CHECKPOINT) != str(note).encode():
            self._objects.put(FOLDER + CHECKPOINT, str(note).encode())
        self._tidy(size, since)
        self._drop(purged)
        self._there = str(note), tuple(stamps)

    def _size_there(self, note: Note) -> int:
        """Up to where the bucket has this log, of which ``note`` is the newest checkpoint."""
        data = self._find(CHECKPOINT)
        if data is None:
            return 0
        there = Note.parse(data)
        check_signatures(there, self._key())
        seen, size = Checkpoint.parse(there.text), Checkpoint.parse(note.text).size
        if seen.size > size:
            raise BrokenRecord(
                f"{self._objects} has {seen.size} entries of the audit log, and the log's own "
                f"files {size}: these were set back.",
                hint="Restore them from a backup that is newer, or from the bucket.",
            )
        if root_hash(seen.size, nodes_in(self._files.tile, size)) != seen.root:
            raise BrokenRecord(
                f"{self._objects} has other entries than the audit log's own files.", hint=_HINT
            )
        return seen.size

    def _put_key(self) -> None:
        if self._there is not None:
            return
        line = f"{self._key()}\n".encode()
        if not self._objects.put_new(FOLDER + KEY_FILE, line) and self._find(KEY_FILE) != line:
            raise BrokenRecord(f"{self._objects} has the key of another audit log.", hint=_HINT)

    def _put_all(self, each: Sequence[Tile | Bundle]) -> None:
        _for_each(lambda one: self._objects.put(FOLDER + one.path, self._files.read(one)), each)

    def _put_stamps(self, sizes: list[int]) -> None:
        known = self._there[1] if self._there else ()
        for size in sizes:
            if size not in known:
                note, stamp = self._files.timestamp(size)
                of_note, of_stamp = stamp_paths(size)
                self._objects.put(FOLDER + of_note, str(note).encode())
                self._objects.put(FOLDER + of_stamp, stamp)

    def _tidy(self, size: int, since: int) -> None:
        """Of what became whole, the parts."""
        whole: list[Tile | Bundle] = [*tiles_of(size, since=since), *bundles_of(size, since=since)]
        # One that was whole when it first came has none, unless a copy was cut short.
        _for_each(self._remove_parts, [each for each in whole if each.width == WIDTH])

    def _remove_parts(self, whole: Tile | Bundle) -> None:
        parts = self._objects.list(f"{FOLDER}{whole.path}.p/")
        self._objects.delete([part.key for part in parts])

    def _drop(self, end: int) -> None:
        if end > self._dropped:
            gone = [key for index, key in bundle_objects(self._objects) if index * WIDTH < end]
            self._objects.delete(gone)
            self._dropped = end

    def _find(self, path: str) -> bytes | None:
        try:
            return self._objects.get(FOLDER + path)
        except NotFound:
            return None

    def _is_behind(self) -> bool:
        note = self._files.checkpoint()
        return note is not None and self._there != (str(note), tuple(self._files.timestamps()))

    def _try(self) -> None:
        try:
            self.sync()
        except Exception as error:  # of whatever kind, it is not tried again at once
            message = error.message if isinstance(error, LoopError) else repr(error)
            with self._lock:
                self._rest = min(max(2 * self._rest, _LEAST_REST_SECONDS), _MOST_REST_SECONDS)
                self._rests_until = time.monotonic() + self._rest
            if message != self._last_failure:
                _logger.disabled = False  # as in `store.sequencer`
                _logger.warning("The audit log's copy in the bucket is behind: %s", message)
            self._last_failure = message
        else:
            self._last_failure, self._rest = "", 0.0

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """One process at a time: the log's files are on its machine."""
        descriptor = os.open(self._turns, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)


def _for_each(act: Callable[[_T], None], things: Sequence[_T]) -> None:
    """Some at once; raises what the first that failed did, once none is at it any more."""
    # No pool: it takes nothing any more when a process is at its end, which is when a command does
    # this.
    remaining, lock = iter(things), threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            with lock:
                one = next(remaining, None)
            if one is None:
                return
            try:
                act(one)
            except BaseException as error:  # of a thread, or it would count as done
                failures.append(error)

    others = min(_AT_ONCE, len(things) // _LEAST_EACH)
    threads = [threading.Thread(target=work, name="log mirror", daemon=True) for _ in range(others)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]

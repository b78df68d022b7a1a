"""ZIP files with data sets, from the app: taken in one at a time, imported, and removed.

Implements `ui.bulk_import.BulkImports`. What lies in the home's ``imports`` folder belongs to the
one import that holds the lock there; the lock goes with the process, and the next one clears up.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from cluster.zip_import import SPARE_BYTES, import_zip
from loop.errors import Conflict, InvalidInput, LoopError, NotFound, Unavailable
from loop.events import Actor, new_id, now
from store.settings import Settings
from ui.bulk_import import ImportOptions, ImportReport, ImportState, ImportStatus

_log = structlog.get_logger(__name__)

_ARCHIVE = "upload.zip"
_LOCK = ".lock"
# Twice the longest silence that the routes put up with.
_STALLED_SECONDS = 120.0
_REMEMBERED = 20
Start = Callable[[Callable[[], None]], None]


def open_bulk_imports(settings: Settings) -> BulkImporter:
    """Bulk imports into this home, cleared of what a process that died has left there."""
    importer = BulkImporter(settings)
    importer.clear_up()
    return importer


def in_thread(work: Callable[[], None]) -> None:
    # A daemon: each image is a transaction, so that a server may stop between any two.
    threading.Thread(target=work, name="bulk-import", daemon=True).start()


@dataclass(slots=True)
class _Job:
    id: str
    options: ImportOptions
    actor: Actor
    size: int
    folder: Path
    lock: int
    heard_at: float
    started_at: str = field(default_factory=now)
    state: ImportState = ImportState.RECEIVING
    opened: bool = False
    received: int = 0
    done: int = 0
    total: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    report: ImportReport | None = None
    error: dict[str, str] | None = None

    def progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def importing(self, done: int, total: int) -> None:
        self.state = ImportState.IMPORTING
        self.progress(done, total)

    def status(self) -> ImportStatus:
        return ImportStatus(
            id=self.id,
            options=self.options,
            started_by=self.actor.pseudonym,
            started_at=self.started_at,
            state=self.state,
            size=self.size,
            received=self.received,
            done=self.done,
            total=self.total,
            report=self.report,
            error=self.error,
        )


class BulkImporter:
    """``start`` runs an import beside everything else; ``clock`` counts seconds."""

    def __init__(
        self,
        settings: Settings,
        *,
        start: Start = in_thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._folder = settings.imports
        self._start = start
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._mutex = threading.RLock()

    def clear_up(self) -> None:
        """Remove what a process that died has left; nothing while an import goes on."""
        if not self._folder.is_dir():
            return
        lock = _hold(self._folder / _LOCK)
        if lock is None:
            return
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        os.close(lock)

    def begin(self, options: ImportOptions, size: int, actor: Actor) -> ImportStatus:
        with self._mutex:
            self._drop_stalled()
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = _hold(self._folder / _LOCK)
                if lock is None:
                    raise Conflict(
                        "Another import is going on.",
                        hint="Wait until it is over. One at a time.",
                        code="import_running",
                    )
                try:
                    job = self._prepared(options, size, actor, lock)
                except BaseException:
                    os.close(lock)
                    raise
            except OSError as error:
                raise _no_room(error) from error
            self._jobs[job.id] = job
            self._forget_old()
            return job.status()

    def open(self, import_id: str) -> Reception:
        with self._mutex:
            job = self._get(import_id)
            if job.opened or job.state is not ImportState.RECEIVING:
                raise _not_waited_for()
            job.opened = True
            return Reception(self, job)

    def find(self, import_id: str) -> ImportStatus:
        with self._mutex:
            self._drop_stalled()
            return self._get(import_id).status()

    def list(self) -> list[ImportStatus]:
        with self._mutex:
            self._drop_stalled()
            return [job.status() for job in reversed(self._jobs.values())]

    def take(self, job: _Job, data: bytes) -> None:
        with self._mutex:
            if job.state is not ImportState.RECEIVING:
                raise _not_waited_for()
            if job.received + len(data) > job.size:
                raise InvalidInput("The ZIP is larger than announced.", code="wrong_size")
            try:
                with (job.folder / _ARCHIVE).open("ab") as file:
                    file.write(data)
            except OSError as error:
                raise _no_room(error) from error
            job.digest.update(data)
            job.received += len(data)
            job.heard_at = self._clock()

    def go_on(self, job: _Job) -> None:
        with self._mutex:
            if job.state is not ImportState.RECEIVING:
                raise _not_waited_for()
            if job.received != job.size:
                raise _incomplete()
            if not job.options.name:
                name = f"zip-{job.digest.hexdigest()[:12]}"
                job.options = replace(job.options, name=name)
            job.state = ImportState.UNPACKING
        self._start(partial(self._run, job))

    def give_up(self, job: _Job) -> None:
        with self._mutex:
            if job.state is ImportState.RECEIVING:
                self._end(job, error=_incomplete().as_dict())

    def _prepared(self, options: ImportOptions, size: int, actor: Actor, lock: int) -> _Job:
        if shutil.disk_usage(self._folder).free < size + SPARE_BYTES:
            raise Unavailable(
                "The disk has no room for this ZIP.", hint="Make room on it, then try again."
            )
        import_id = new_id()
        folder = self._folder / import_id
        folder.mkdir(mode=0o700)
        os.close(os.open(folder / _ARCHIVE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return _Job(import_id, options, actor, size, folder, lock, self._clock())

    def _run(self, job: _Job) -> None:
        report: ImportReport | None = None
        error: dict[str, str] | None = None
        try:
            report = import_zip(
                self._settings,
                job.folder / _ARCHIVE,
                job.options,
                sha256=job.digest.hexdigest(),
                actor=job.actor,
                unpacking=job.progress,
                importing=job.importing,
            )
        except LoopError as refused:
            error = refused.as_dict()
        except Exception as unexpected:  # the thread's last net: there is nobody to catch it
            _log.exception("import.failed", import_id=job.id, exc_info=unexpected)
            error = {
                "code": "internal",
                "message": "Something went wrong on our side.",
                "hint": f"Look for import {job.id} in the log of the app. What came in stays.",
            }
        self._end(job, report, error)

    def _end(
        self,
        job: _Job,
        report: ImportReport | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._mutex:
            os.close(job.lock)
            job.report, job.error = report, error
            job.state = ImportState.FAILED if report is None else ImportState.DONE

    def _drop_stalled(self) -> None:
        for job in self._jobs.values():
            silent = self._clock() - job.heard_at
            if job.state is ImportState.RECEIVING and silent > _STALLED_SECONDS:
                self.give_up(job)

    def _forget_old(self) -> None:
        over = [job.id for job in self._jobs.values() if job.state.over]
        for import_id in over[: max(len(self._jobs) - _REMEMBERED, 0)]:
            del self._jobs[import_id]

    def _get(self, import_id: str) -> _Job:
        if import_id not in self._jobs:
            raise NotFound(
                "There is no such import since the app was started.",
                hint="Import the ZIP again if in doubt: what is here already stays as it is.",
            )
        return self._jobs[import_id]


class Reception:
    """Implements `ui.bulk_import.Reception`."""

    def __init__(self, importer: BulkImporter, job: _Job) -> None:
        self._importer = importer
        self._job = job

    def write(self, data: bytes) -> None:
        self._importer.take(self._job, data)

    def start(self) -> None:
        self._importer.go_on(self._job)

    def abandon(self) -> None:
        self._importer.give_up(self._job)


def _hold(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None if somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _not_waited_for() -> Conflict:
    return Conflict(
        "No ZIP is waited for here, or not any more.",
        hint="Begin the import again.",
        code="not_receiving",
    )


def _incomplete() -> InvalidInput:
    return InvalidInput(
        "The ZIP did not arrive in full.",
        hint="Check the connection, then import it again.",
        code="incomplete_upload",
    )


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(
        f"The ZIP cannot be stored: {error.strerror or error}.",
        hint="Make room on the disk, then try again.",
    )

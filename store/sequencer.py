"""Moves events out of the outbox into the log, beside whatever a process is doing."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref

from loop.errors import LoopError
from store.audit_log import AuditLog

# To stderr where nothing else is set up: a command's stdout is for what it answers.
_logger = logging.getLogger(__name__)

# So much later than the commit, and only if nobody else does meanwhile: where there is a process
# made for it (`run`), those that detect and train have other things to do.
_PATIENCE_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 1.0  # after a failure

_all: weakref.WeakSet[Sequencer] = weakref.WeakSet()


class Sequencer:
    """``wake`` is for who commits now and then; ``run`` for a process that is there for it."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = False
        self._last_failure = ""
        _all.add(self)

    def wake(self) -> None:
        """See that what was committed gets into the log. Returns at once."""
        with self._lock:
            self._woken = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="audit log", daemon=True)
                self._thread.start()

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``."""
        pause = 0.0
        while not stop.wait(pause):
            pause = _LOOK_SECONDS if self.once() else _AGAIN_SECONDS
        self.once()

    def once(self) -> bool:
        """Whether all that was waiting is in the log now. Why not is in the process's own log."""
        try:
            self._log.integrate()
            for refusal in self._log.cosign().values():
                _warn("The log's checkpoint lacks a signature", refusal)
            if self._log.is_here():
                self._log.timestamps.soon()
                if self._log.mirror is not None:
                    self._log.mirror.soon()
        except LoopError as error:
            if error.message != self._last_failure:
                _warn("Audit events wait in the outbox", error)
            self._last_failure = error.message
            return False
        self._last_failure = ""
        return True

    def finish(self) -> None:
        """At the end of a process: nothing does it afterwards."""
        self.once()
        self._log.timestamps.wait()
        if self._log.mirror is not None:
            self._log.mirror.wait()

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                if not self._woken:
                    self._thread = None
                    return
                self._woken = False
            before = self._counted()
            pause.wait(_PATIENCE_SECONDS)
            if self._counted() != before:  # somebody else is at it
                self._woken = self._woken or self._is_waiting()
            elif not self.once():
                pause.wait(_AGAIN_SECONDS)
                self._woken = True

    def _counted(self) -> int:
        """How many entries the log has; -1 if that cannot be told."""
        try:
            return self._log.rows.state().head.size
        except LoopError:
            return -1

    def _is_waiting(self) -> bool:
        try:
            return self._log.rows.is_waiting()
        except LoopError:
            return True


def _warn(what: str, error: LoopError) -> None:
    _logger.disabled = False  # which MLflow's migrations of its database do to all that there are
    _logger.warning("%s: %s", what, error.message)


@atexit.register
def _at_exit() -> None:
    for sequencer in list(_all):
        sequencer.finish()

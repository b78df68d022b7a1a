"""What `doctor` finds, and how it looks without ever waiting for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loop.errors import LoopError


@dataclass(frozen=True, slots=True)
class Finding:
    """``ok`` is None for what is only worth knowing; ``hint`` says what to do if it is False."""

    what: str
    found: str
    ok: bool | None = None
    hint: str = ""


Look = Callable[[], Sequence[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """``what`` is said if ``look`` raises, or has no answer after ``seconds``."""

    what: str
    look: Look
    seconds: float = 15.0


def looked_at_once(checks: Sequence[Check]) -> list[Finding]:
    """All of them at the same time, in their order. One that hangs is left behind in its thread,
    which does not hold up the end of the process."""
    return Started(checks).findings()


class Started:
    """Checks that run while something else is done."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._began = time.monotonic()
        self._running = [_Running(check) for check in checks]

    def findings(self) -> list[Finding]:
        return [each for one in self._running for each in one.result(self._began)]


class _Running:
    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: Sequence[Finding] = ()
        self._thread = threading.Thread(target=self._run, name=check.what, daemon=True)
        self._thread.start()

    def result(self, began: float) -> Sequence[Finding]:
        self._thread.join(max(0.0, began + self._check.seconds - time.monotonic()))
        if self._thread.is_alive():
            return [no_answer(self._check.what, self._check.seconds)]
        return self._found

    def _run(self) -> None:
        what = self._check.what
        try:
            self._found = self._check.look()
        except LoopError as error:
            self._found = [Finding(what, error.message, False, error.hint)]
        except Exception as error:  # of any library: the others are to be told all the same
            self._found = [Finding(what, f"{type(error).__name__}: {error}", False, _REPORT)]


_REPORT = "This was not foreseen: the message is all that is known."


def no_answer(what: str, seconds: float) -> Finding:
    return Finding(
        what,
        f"no answer within {seconds:.0f} s",
        False,
        "Something takes the connection and says nothing: a firewall, or a server that hangs.",
    )

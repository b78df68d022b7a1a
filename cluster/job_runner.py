"""``python -m cluster.job_runner END GRACE COMMAND …``: runs a job and writes down how it ended.

It outlives the app that started it. SIGINT or SIGTERM interrupts the command, as Ctrl-C in a
terminal does, so that a training ends itself; after GRACE seconds whatever is left is killed.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from cluster.processes import descendants
from loop.events import now

_POLL_SECONDS = 0.1
# <sys/prctl.h>: the signal that a process gets when the one that started it dies.
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    end, grace, *command = arguments
    code = _Job(command, float(grace)).run()
    draft = Path(f"{end}.new")
    draft.write_text(json.dumps({"exit_code": code, "ended_at": now()}), encoding="utf-8")
    draft.replace(end)
    return 0


class _Job:
    def __init__(self, command: Sequence[str], grace_seconds: float) -> None:
        self._command = command
        self._grace_seconds = grace_seconds
        self._asked_to_stop = False

    def run(self) -> int:
        """The command's exit status; a negative one is the signal that ended it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            # Signals reach it through us alone.
            start_new_session=True,
            preexec_fn=_interrupt_when_orphaned,
        )
        deadline: float | None = None
        family: list[psutil.Process] = []
        while process.poll() is None:
            if self._asked_to_stop and deadline is None:
                deadline = time.monotonic() + self._grace_seconds
                family = descendants(process.pid)
                process.send_signal(signal.SIGINT)
            if deadline is not None and time.monotonic() > deadline:
                family += descendants(process.pid)
                process.kill()
            time.sleep(_POLL_SECONDS)
        for left in family:
            _kill(left)
        return process.returncode

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked_to_stop = True


def _interrupt_when_orphaned() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()  # psutil checks that the id was not reused
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m cluster.job_runner BASE GRACE COMMAND …``: runs a job, as the entry point that Ray
starts on its head, and ends it in order.

There are two processes. The one that Ray started, the front, prints what the command prints. The
other one, the keeper, has left Ray's family and runs the command: what Ray signals when it stops a
job reaches the front alone. Once the front was told to end, or is gone, the keeper interrupts the
command as Ctrl-C in a terminal does, once, so that a training puts on record that it was
interrupted; after GRACE seconds whatever is left is killed.

BASE is a path without its ending: ``.process.json`` says who the keeper is, ``.log`` has what was
printed, ``.end.json`` how it ended. With ``-`` nothing is written, but to stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import psutil

from cluster.processes import descendants
from loop.events import now

_POLL_SECONDS = 0.1
# <sys/prctl.h>: the signal that a process gets when the one that started it dies.
_PR_SET_PDEATHSIG = 1
# What only the app itself needs.
_SECRETS = ("SECONDLOOK_SESSION_KEY", "SECONDLOOK_OIDC_CLIENT_SECRET")
_NOTHING = "-"
# What a raylet is started with: the cluster that it belongs to.
_GCS = "--gcs-address="
# Where the keeper was killed: nobody saw how the command ended.
_UNKNOWN = 1


def main(arguments: Sequence[str]) -> int:
    base, grace, *command = arguments
    address = own_ray()
    if address:
        os.environ["RAY_ADDRESS"] = address
    if base != _NOTHING:
        return _run(Path(base), float(grace), command)
    with tempfile.TemporaryDirectory(prefix="sl-job-") as folder:
        return _run(Path(folder) / "job", float(grace), command)


def own_ray() -> str:
    """HOST:PORT of the Ray that started this process, as the raylet has it that it descends from;
    empty without one. What Ray tells its jobs is the one that was started last on this machine."""
    with suppress(psutil.Error):
        for parent in psutil.Process().parents():
            for argument in parent.cmdline():
                if argument.startswith(_GCS):
                    return argument.removeprefix(_GCS)
    return ""


def _run(base: Path, grace_seconds: float, command: Sequence[str]) -> int:
    # Ray blocks SIGINT in its processes, and what they start inherits that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    log = base.with_name(f"{base.name}.log")
    log.touch()
    wanted, unwanted = os.pipe()
    ended, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(unwanted)
        os.close(ended)
        _leave_family()
        _Keeper(command, grace_seconds, base, wanted).run(end)
        os._exit(0)
    os.close(wanted)
    os.close(end)
    os.waitpid(child, 0)
    return _Front(log, unwanted, ended).run()


class _Front:
    """Prints the log as it grows, until the keeper says that the command has ended."""

    def __init__(self, log: Path, unwanted: int, ended: int) -> None:
        self._log = log
        self._unwanted = unwanted
        self._ended = ended
        self._told = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        with self._log.open("rb") as log:
            while not select.select([self._ended], [], [], _POLL_SECONDS)[0]:
                _pour(log)
            answer = os.read(self._ended, 64)
            _pour(log)
        return _exit_status(int(answer)) if answer else _UNKNOWN

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._told:
            self._told = True
            os.close(self._unwanted)


class _Keeper:
    """Runs the command until it ends, or until nobody holds the other end of ``wanted`` any more,
    or until a signal asks for it."""

    def __init__(
        self, command: Sequence[str], grace_seconds: float, base: Path, wanted: int
    ) -> None:
        self._command = command
        self._grace_seconds = grace_seconds
        self._base = base
        self._wanted = wanted
        self._asked_to_stop = False

    def run(self, end: int) -> None:
        """The command's exit status goes to ``end``; a negative one is the signal that ended it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        own = psutil.Process()
        self._write("process", {"pid": own.pid, "started": own.create_time()})
        with self._base.with_name(f"{self._base.name}.log").open("ab") as log:
            _redirect(log)
            code = self._code(log)
        self._write("end", {"exit_code": code, "ended_at": now()})
        with suppress(BrokenPipeError):  # the front was killed
            os.write(end, str(code).encode())

    def _code(self, log: BinaryIO) -> int:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                # Signals reach it through us alone.
                start_new_session=True,
                preexec_fn=_interrupt_when_orphaned,
            )
        except OSError as error:
            log.write(f"{self._command[0]} cannot be started: {error.strerror}\n".encode())
            return _UNKNOWN
        self._wait(process)
        return process.returncode

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline: float | None = None
        family: list[psutil.Process] = []
        while process.poll() is None:
            if deadline is None and self._is_over():
                deadline = time.monotonic() + self._grace_seconds
                family = descendants(process.pid)
                process.send_signal(signal.SIGINT)
            if deadline is not None and time.monotonic() > deadline:
                family += descendants(process.pid)
                process.kill()
            time.sleep(_POLL_SECONDS)
        for left in family:
            _kill(left)

    def _is_over(self) -> bool:
        """Nothing is ever written there: it can be read once its other end is closed."""
        return self._asked_to_stop or bool(select.select([self._wanted], [], [], 0)[0])

    def _write(self, ending: str, value: Mapping[str, Any]) -> None:
        draft = self._base.with_name(f"{self._base.name}.{ending}.new")
        draft.write_text(json.dumps(value), encoding="utf-8")
        draft.replace(self._base.with_name(f"{self._base.name}.{ending}.json"))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked_to_stop = True


def _leave_family() -> None:
    """Become a process whose parent is not the front: Ray finds what to signal, and what to kill,
    by parents and by process groups."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)


def _redirect(log: BinaryIO) -> None:
    """Ray's own log is not held open by who outlives Ray, and what goes wrong here is seen."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    # Ray gives that to what reserves no CPU; measurements here choose their threads themselves.
    if kept.get("OMP_NUM_THREADS") == "1":
        del kept["OMP_NUM_THREADS"]
    return kept


def _pour(log: BinaryIO) -> None:
    shutil.copyfileobj(log, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _exit_status(code: int) -> int:
    """As a shell says it: 128 and the number of the signal."""
    return 128 - code if code < 0 else code


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

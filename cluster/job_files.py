"""What is known of jobs on this machine's disk, so that it outlives the cluster that ran them.

``ID.json`` says what was handed in and where, ``ID.stop`` is there once it was asked to stop,
``ID.end.json`` says how it ended, ``ID.log`` has what it printed. For a job that runs in place,
`cluster.job_runner` writes the last two, and ``ID.process.json``; for one that runs elsewhere, they
are copied once it was seen to have ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from loop.errors import BrokenRecord, NotFound
from loop.events import now
from store.processes import find_process
from ui.operations import Job, JobKind, JobState

_JOB_ID = re.compile(r"sl-[a-z]{1,16}-[0-9a-f]{8}")
# Colours and cursor movements of programs that think they write to a terminal (ECMA-48).
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MOST_KEPT = 50
_MOST_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What was handed in. ``url`` is the dashboard's; ``here`` whether the job runs in place, on
    this machine and in this home; ``workspace`` is the folder whose pipeline it runs."""

    kind: JobKind
    started_by: str
    parameters: Mapping[str, Any]
    url: str
    here: bool
    workspace: str = ""
    started_at: str = ""


class JobFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended: dict[str, Job] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process at a time, between looking what runs and starting something."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def new_id(self, kind: JobKind) -> str:
        return f"sl-{kind.value}-{secrets.token_hex(4)}"

    def base(self, job_id: str) -> Path:
        """Of the job's files, without their endings."""
        return self._folder / job_id

    def write(self, job_id: str, record: JobRecord) -> None:
        self._prune()
        raw = {
            "kind": record.kind.value,
            "started_by": record.started_by,
            "parameters": dict(record.parameters),
            "url": record.url,
            "here": record.here,
            "workspace": record.workspace,
            "started_at": record.started_at or now(),
        }
        self._write(job_id, "json", raw)

    def forget(self, job_id: str) -> None:
        self._ended.pop(job_id, None)
        for path in self._folder.glob(f"{job_id}.*"):
            path.unlink(missing_ok=True)

    def records(self) -> list[tuple[str, JobRecord]]:
        """By id, newest first."""
        found = []
        for job_id in self._known():
            with suppress(NotFound):  # another process has forgotten it this moment
                found.append((job_id, self.record(job_id)))
        return sorted(found, key=lambda each: each[1].started_at, reverse=True)

    def record(self, job_id: str) -> JobRecord:
        """Raises `NotFound`."""
        path = self._path(job_id, "json")
        if not _JOB_ID.fullmatch(job_id):
            raise NotFound("There is no such job.", hint="See: secondlook jobs list.")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return JobRecord(**raw | {"kind": JobKind(raw["kind"])})
        except FileNotFoundError:
            raise NotFound("There is no such job.", hint="See: secondlook jobs list.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise BrokenRecord(f"{path} is not a job's record.", hint="Delete it.") from error

    def ended(self, job_id: str) -> Job | None:
        """How it ended; None for one of which nobody has written that down."""
        if job_id not in self._ended:
            try:
                raw = json.loads(self._path(job_id, "end.json").read_text(encoding="utf-8"))
                code, ended_at = raw["exit_code"], str(raw["ended_at"])
                state = JobState(raw.get("state") or self._end_state(job_id, code))
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None
            job = self.job(job_id, state)
            self._ended[job_id] = replace(job, exit_code=code, ended_at=ended_at)
        return self._ended[job_id]

    def job(self, job_id: str, state: JobState) -> Job:
        """In a state that somebody else knows."""
        record = self.record(job_id)
        return Job(
            id=job_id,
            kind=record.kind,
            state=state,
            started_by=record.started_by,
            parameters=record.parameters,
            started_at=record.started_at,
        )

    def end(self, job_id: str, state: JobState, exit_code: int | None, at: str = "") -> Job:
        """Write down how it ended, for a job that could not do it itself. Without ``at``, its last
        sign of life counts."""
        ended_at = at or self._last_sign(job_id)
        raw = {"state": state.value, "exit_code": exit_code, "ended_at": ended_at}
        self._write(job_id, "end.json", raw)
        job = replace(self.job(job_id, state), exit_code=exit_code, ended_at=ended_at)
        self._ended[job_id] = job
        return job

    def log(self, job_id: str, lines: int) -> str:
        """The last lines of it; empty where there is none yet."""
        try:
            with self._path(job_id, "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_LOG_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return last_lines(text, lines)

    def last_output(self, job_id: str) -> float:
        """When it last printed something, in seconds since 1970; when it was handed in, where it
        has printed nothing here."""
        try:
            return self._path(job_id, "log").stat().st_mtime
        except FileNotFoundError:
            return datetime.fromisoformat(self.record(job_id).started_at).timestamp()

    def whole_log(self, job_id: str) -> str:
        try:
            return self._path(job_id, "log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def keep_log(self, job_id: str, text: str) -> None:
        """In place of what is there."""
        draft = self._path(job_id, f"log.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._path(job_id, "log"))

    def note_stop(self, job_id: str) -> None:
        self._path(job_id, "stop").touch()

    def asked_to_stop(self, job_id: str) -> bool:
        return self._path(job_id, "stop").exists()

    def process(self, job_id: str) -> tuple[bool, psutil.Process | None]:
        """Whether its keeper has been seen, and the keeper if it lives: of a job in place."""
        try:
            raw = json.loads(self._path(job_id, "process.json").read_text(encoding="utf-8"))
            return True, find_process(int(raw["pid"]), float(raw["started"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False, None

    def interrupt(self, job_id: str) -> None:
        """Ask a job in place to end, without Ray: where there is none any more."""
        _, process = self.process(job_id)
        if process is not None:
            try:
                process.send_signal(signal.SIGINT)
            except psutil.NoSuchProcess:
                return

    def wait(self, job_id: str, seconds: float) -> None:
        _, process = self.process(job_id)
        if process is not None:
            psutil.wait_procs([process], timeout=seconds)

    def _end_state(self, job_id: str, code: int | None) -> JobState:
        if code == 0:
            return JobState.SUCCEEDED
        return JobState.STOPPED if self.asked_to_stop(job_id) else JobState.FAILED

    def _last_sign(self, job_id: str) -> str:
        for ending in ("log", "json"):
            path = self._path(job_id, ending)
            if path.exists():
                at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return now()

    def _write(self, job_id: str, ending: str, raw: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._path(job_id, f"{ending}.{os.getpid()}")
        draft.write_text(json.dumps(raw), encoding="utf-8")
        draft.replace(self._path(job_id, ending))

    def _known(self) -> list[str]:
        return [path.stem for path in self._folder.glob("*.json") if _JOB_ID.fullmatch(path.stem)]

    def _prune(self) -> None:
        """Forget the oldest jobs that have ended, so that with this one enough are kept."""
        for job_id, _ in self.records()[_MOST_KEPT - 1 :]:
            if self.ended(job_id) is not None:
                self.forget(job_id)

    def _path(self, job_id: str, ending: str) -> Path:
        return self._folder / f"{job_id}.{ending}"


def last_lines(text: str, lines: int) -> str:
    return "\n".join(_ESCAPES.sub("", text).splitlines()[-lines:])

"""Jobs of this machine: each a process of its own, with its record, log and end as files.

Whoever opens the folder finds them again, after a restart too: a process by its id and start time.
``ID.json`` says what was started, ``ID.stop`` is there once it was asked to stop, ``ID.end.json``
is written by `cluster.job_runner`, ``ID.log`` has what it printed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from loop.errors import BrokenRecord, NotFound, Unavailable
from loop.events import new_id, now
from store.processes import find_process
from ui.operations import Job, JobKind, JobState

_JOB_ID = re.compile(r"[0-9a-f]{32}")
# Colours and cursor movements of programs that think they write to a terminal (ECMA-48).
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MOST_KEPT = 50
_MOST_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. The environment is the whole one; ``grace_seconds`` is how long it may take to
    end once it was interrupted."""

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    grace_seconds: float


class JobFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Kept until they are reaped, for a zombie looks like a process that lives.
        self._children: list[subprocess.Popen[bytes]] = []
        self._ended: dict[str, Job] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process at a time, between looking what runs and starting something."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(
        self, kind: JobKind, parameters: Mapping[str, Any], started_by: str, command: Command
    ) -> Job:
        self._prune()
        job = Job(new_id(), kind, JobState.RUNNING, started_by, dict(parameters), now())
        try:
            with self._path(job.id, "log").open("ab") as output:
                self._children.append(self._popen(job.id, command, output))
            self._write(job, self._children[-1].pid)
        except OSError as error:
            raise Unavailable(
                f"The job cannot be started: {error.strerror}.",
                hint=f"Check that {self._folder} and {command.folder} can be written.",
            ) from error
        return job

    def jobs(self) -> list[Job]:
        """Newest first."""
        self._children = [child for child in self._children if child.poll() is None]
        jobs = [self._read(path.stem) for path in self._records()]
        return sorted(jobs, key=lambda job: job.started_at, reverse=True)

    def get(self, job_id: str) -> Job:
        if not _JOB_ID.fullmatch(job_id) or not self._path(job_id, "json").exists():
            raise NotFound("There is no such job.", hint="Reload the page: old jobs are forgotten.")
        self._children = [child for child in self._children if child.poll() is None]
        return self._read(job_id)

    def log(self, job_id: str, lines: int) -> str:
        self.get(job_id)
        with self._path(job_id, "log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
        return "\n".join(_ESCAPES.sub("", text).splitlines()[-lines:])

    def last_output(self, job_id: str) -> float:
        """When it last printed something, in seconds since 1970."""
        return self._path(job_id, "log").stat().st_mtime

    def interrupt(self, job_id: str) -> None:
        """Ask it to end, as Ctrl-C does; its runner kills what is left after the grace."""
        self._path(job_id, "stop").touch()
        process = self._process(self._raw(job_id))
        if process is not None:
            try:
                process.send_signal(signal.SIGINT)
            except psutil.NoSuchProcess:
                return

    def wait(self, job_id: str, seconds: float) -> None:
        process = self._process(self._raw(job_id))
        if process is not None:
            psutil.wait_procs([process], timeout=seconds)

    def _popen(self, job_id: str, command: Command, output: BinaryIO) -> subprocess.Popen[bytes]:
        runner = [sys.executable, "-m", "cluster.job_runner", str(self._path(job_id, "end.json"))]
        return subprocess.Popen(
            [*runner, str(command.grace_seconds), *command.arguments],
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # What ends the app or its terminal does not end a training.
            start_new_session=True,
        )

    def _read(self, job_id: str) -> Job:
        if job_id in self._ended:
            return self._ended[job_id]
        raw = self._raw(job_id)
        job = Job(
            id=job_id,
            kind=JobKind(raw["kind"]),
            state=JobState.RUNNING,
            started_by=raw["started_by"],
            parameters=raw["parameters"],
            started_at=raw["started_at"],
        )
        asked_to_stop = self._path(job_id, "stop").exists()
        if self._process(raw) is not None:
            return replace(job, state=JobState.STOPPING) if asked_to_stop else job
        code, ended_at = self._end(job_id)
        if code == 0:
            state = JobState.SUCCEEDED
        else:
            state = JobState.STOPPED if asked_to_stop else JobState.FAILED
        self._ended[job_id] = replace(job, state=state, exit_code=code, ended_at=ended_at)
        return self._ended[job_id]

    def _end(self, job_id: str) -> tuple[int | None, str]:
        """Exit code and time; where nobody was left to write them down, the last sign of life."""
        try:
            raw = json.loads(self._path(job_id, "end.json").read_text(encoding="utf-8"))
            return int(raw["exit_code"]), str(raw["ended_at"])
        except (FileNotFoundError, ValueError, KeyError):
            at = datetime.fromtimestamp(self._path(job_id, "log").stat().st_mtime, UTC)
            return None, at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _write(self, job: Job, pid: int) -> None:
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started = 0.0
        raw = {
            "kind": job.kind.value,
            "started_by": job.started_by,
            "parameters": dict(job.parameters),
            "started_at": job.started_at,
            "pid": pid,
            "started": started,
        }
        draft = self._path(job.id, "new")
        draft.write_text(json.dumps(raw), encoding="utf-8")
        draft.replace(self._path(job.id, "json"))

    def _raw(self, job_id: str) -> dict[str, Any]:
        path = self._path(job_id, "json")
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BrokenRecord(f"{path} is not a job's record.", hint="Delete it.") from error
        return raw

    def _process(self, raw: Mapping[str, Any]) -> psutil.Process | None:
        return find_process(int(raw["pid"]), float(raw["started"]))

    def _records(self) -> list[Path]:
        return [path for path in self._folder.glob("*.json") if _JOB_ID.fullmatch(path.stem)]

    def _prune(self) -> None:
        """Forget the oldest jobs, so that this one is the last of those that are kept."""
        for job in self.jobs()[_MOST_KEPT - 1 :]:
            self._ended.pop(job.id, None)
            for path in self._folder.glob(f"{job.id}.*"):
                path.unlink()

    def _path(self, job_id: str, ending: str) -> Path:
        return self._folder / f"{job_id}.{ending}"

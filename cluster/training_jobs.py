"""Trainings and measurements as jobs of Ray, for the app and for `secondlook jobs`.

On the cluster that `secondlook up` runs here, a job runs in place: in the workspace's own folder,
and with this machine's code. To a cluster elsewhere the code and the workspace travel
(`cluster.job_package`), and results come back by a bucket (`cluster.job_entry`).
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.job_files import JobFiles, JobRecord, last_lines
from cluster.job_package import job_package
from cluster.job_place import Place, find_place
from cluster.job_settings import job_environment, remote_environment
from cluster.ray_jobs import KIND, PARAMETERS, STARTED_BY, RayJob, RayJobs
from loop.access import Permission, require
from loop.errors import Conflict, InvalidInput, LoopError, Misconfigured, NotFound, Unavailable
from loop.events import Actor, Event, Outcome, Role
from loop.ports import UnitsOfWork
from store.settings import Settings
from store.workspace import Workspace, init_workspace
from train.params import Params, load_params
from train.paths import PARAMS
from ui.operations import Job, JobKind, JobState, Parameter

# A training that is interrupted gives its folds, and Ray, a minute to end (store/workspace.py).
_GRACE_SECONDS = 90.0
# Ray kills what it told to end after so many seconds more; by then all has ended by itself.
_RAY_MARGIN_SECONDS = 15
# What Ray says of a job is believed for so long: a page asks several times a second.
_KNOWN_SECONDS, _SILENCE_SECONDS = 1.5, 10.0
# A job that Ray does not know, or that nobody tells of, may still be on its way to it: a dashboard
# takes so long to say that it took one (`RayJobs.submit`).
_START_SECONDS = 180.0
_FOLLOW_SECONDS, _MOST_SILENCE_SECONDS = 1.0, 900.0
# Before the first answer: where none comes, there may be no cluster at all.
_FIRST_SILENCE_SECONDS = 10.0
_OFFERED = {
    "K_FOLDS": "Folds of the cross-validation, at most as many as there are subjects.",
    "EPOCHS": "Passes over the training images, at most.",
    "BATCH_SIZE": "Images a step.",
    "IMG_SIZE": "Pixels of the longer side, a multiple of 32.",
    "PATIENCE": "Stop after that many epochs without a better model; 0 never stops early.",
    "SEED": "The same seed on the same data makes the same folds.",
    "BASE_MODEL": "What training starts from: champion, or a .pt or .yaml file of the workspace.",
}
# No way out of the workspace: this comes over the network.
_BASE_MODEL = re.compile(r"\w[\w-]*(\.[\w-]+)*(/\w[\w-]*(\.[\w-]+)*)*")
_VERSION = re.compile(r"[0-9]{1,9}")
_STATES = {
    "PENDING": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "STOPPED": JobState.STOPPED,
}
_MEASUREMENTS = (JobKind.PROPOSE, JobKind.MEASURE)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """``arguments`` are those of ``secondlook``; ``workspace`` is where they are meant, if in one.
    ``weights`` are files of it, relative to it, that a training starts from."""

    kind: JobKind
    parameters: Mapping[str, Any]
    arguments: Sequence[str]
    workspace: Path | None = None
    weights: tuple[Path, ...] = ()


class RayTrainingJobs:
    """Implements `ui.operations.TrainingJobs`; what outlives the cluster lies in ``HOME/run/jobs``.

    ``program`` is the command line to start in place, for tests another one; ``grace_seconds`` is
    how long a job may take to end itself; ``find`` says where jobs run now.
    """

    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        *,
        program: Sequence[str] = (sys.executable, "-m", "cluster.cli"),
        grace_seconds: float = _GRACE_SECONDS,
        find: Callable[[Settings], Place] = find_place,
    ) -> None:
        self._settings = settings
        self._units = units
        self._program = program
        self._grace_seconds = grace_seconds
        self._find = find
        self._files = JobFiles(settings.run_dir / "jobs")
        self._started_in = Path.cwd()
        # What Ray said last, and until when (time.monotonic) it is not asked again.
        self._told: dict[str, tuple[float, Job]] = {}
        # Of jobs elsewhere: how long the log was, and when it was found to have grown; and the log,
        # with until when it is not asked for again: all of it comes each time.
        self._heard: dict[str, tuple[int, float]] = {}
        self._printed: dict[str, tuple[float, str]] = {}

    def defaults(self) -> tuple[Parameter, ...]:
        values = Params()
        folder = self._workspace_folder()
        # There is none yet, or one that the training itself will complain about.
        with contextlib.suppress(Misconfigured):
            values = load_params(folder / PARAMS)
        return tuple(_parameter(name, text, values) for name, text in _OFFERED.items())

    def start(self, parameters: Mapping[str, Any], *, actor: Actor) -> Job:
        checked = _checked(parameters)
        changes = [word for name, value in checked.items() for word in ("-S", f"{name}={value}")]
        arguments = ["train", "kfold", *changes]
        return self.submit(
            JobRequest(JobKind.KFOLD, checked, arguments, self._workspace_folder()), actor=actor
        )

    def propose(self, version: str, *, actor: Actor) -> Job:
        _check_versions([version])
        arguments = ["models", "compare", version]
        return self.submit(
            JobRequest(JobKind.PROPOSE, {"version": version}, arguments), actor=actor
        )

    def measure(self, versions: Sequence[str], *, actor: Actor) -> Job:
        _check_versions(versions)
        arguments = ["models", "measure", *versions]
        request = JobRequest(JobKind.MEASURE, {"versions": list(versions)}, arguments)
        return self.submit(request, actor=actor)

    def submit(self, request: JobRequest, *, actor: Actor) -> Job:
        """Hand it in. Raises `NotAllowed`; `Conflict` while another runs on this machine;
        `Unavailable` or `Misconfigured` where the cluster does not take it."""
        require(actor, Permission.TRAIN)
        with self._files.turn():
            details = {"parameters": dict(request.parameters)}
            place = self._find(self._settings)
            running = self.blocking()
            if running is not None:
                raise Conflict(
                    f"Another job {_said(running)} since {running.started_at[11:16]} UTC.",
                    hint="Wait for it, or stop it.",
                )
            self._record("requested", request.kind, actor, {}, details, Outcome.INTENDED)
            try:
                job = self._hand_in(place, request, actor)
            except LoopError as error:
                failed = Outcome.FAILED
                self._record("requested", request.kind, actor, {}, details, failed, error.message)
                raise
            self._record("requested", request.kind, actor, {"job_id": job.id}, details)
        return job

    def jobs(self) -> list[Job]:
        return list(self._looked(self._files.records()))

    def all_jobs(self) -> list[Job]:
        """And those that others handed in on the same cluster, as far as it can be reached."""
        own = self.jobs()
        known = {job.id for job in own}
        with contextlib.suppress(LoopError):
            told = RayJobs(self._find(self._settings).url).jobs()
            own += [job for job in map(_foreign, told) if job is not None and job.id not in known]
        return sorted(own, key=lambda job: job.started_at, reverse=True)

    def get(self, job_id: str) -> Job:
        """Raises `NotFound`; `Unavailable` for one of others whose cluster does not answer."""
        try:
            return self._look(job_id)
        except NotFound:
            found = _foreign(RayJobs(self._find(self._settings).url).get(job_id))
            if found is None:
                raise
            return found

    def last_output(self, job_id: str) -> float:
        """When the job last printed something, in seconds since 1970. Of one elsewhere, that is
        when its log was last found to have grown."""
        record = self._files.record(job_id)
        if record.here or self._files.ended(job_id) is not None:
            return self._files.last_output(job_id)
        length, at = self._heard.get(job_id, (0, self._files.last_output(job_id)))
        with contextlib.suppress(LoopError):
            grown = len(self._log_elsewhere(job_id, record))
            if grown > length:
                length, at = grown, time.time()
        self._heard[job_id] = (length, at)
        return at

    def log(self, job_id: str, lines: int) -> str:
        record = self._files.record(job_id)
        if record.here or self._files.ended(job_id) is not None:
            return self._files.log(job_id, lines)
        try:
            return last_lines(self._log_elsewhere(job_id, record), lines)
        except LoopError as error:
            return error.message

    def whole_log(self, job_id: str) -> str:
        """Raises `NotFound`, `Unavailable`."""
        try:
            record = self._files.record(job_id)
        except NotFound:
            return RayJobs(self._find(self._settings).url).log(job_id)
        if record.here or self._files.ended(job_id) is not None:
            return self._files.whole_log(job_id)
        return RayJobs(record.url).log(job_id)

    def follow(self, job_id: str, write: Callable[[str], None]) -> Job:
        """Hand on what a job prints until it has ended, also over times in which its cluster does
        not answer. Raises `Unavailable` when that lasts for a quarter of an hour, or if it has not
        answered at all yet."""
        printed, heard, patience = 0, time.monotonic(), _FIRST_SILENCE_SECONDS
        while True:
            began = time.monotonic()
            try:
                # First the state: what is printed after it, nobody prints any more.
                job = self.get(job_id)
                text = self.whole_log(job_id)
            except Unavailable:
                if time.monotonic() - heard > patience:
                    raise
                time.sleep(_FOLLOW_SECONDS)
                continue
            heard, patience = time.monotonic(), _MOST_SILENCE_SECONDS
            write(text[printed:])
            printed = len(text)
            if not job.state.active:
                return job
            # A long log is not asked for as often.
            time.sleep(max(_FOLLOW_SECONDS, 4 * (heard - began)))

    def stop(self, job_id: str, *, actor: Actor) -> None:
        require(actor, Permission.TRAIN)
        job = self.get(job_id)
        if not job.state.active:
            raise Conflict(f"This job has ended already: it {_said(job)}.")
        self._interrupt(job, actor)

    def give_up(self, job_id: str, *, actor: Actor) -> None:
        """Write a job down as lost, whose cluster is gone for good. Raises `Conflict` while that
        answers."""
        require(actor, Permission.TRAIN)
        job = self.get(job_id)
        if not job.silence:
            raise Conflict(
                f"This job {_said(job)}, and nothing of it is lost.",
                hint=f"To end it while it runs: secondlook jobs stop {job_id}",
            )
        details, why = {"parameters": dict(job.parameters)}, f"Given up: {job.silence}"
        self._record("stopped", job.kind, actor, {"job_id": job.id}, details, reason=why)
        self._lose(job_id, why)

    def end(self) -> None:
        """Interrupt what runs on this machine and wait for it: for whoever takes down what it
        trains on, and for what trains on a Ray that is gone."""
        for job in self._here():
            if job.state.active:
                self._interrupt(job, self._settings.acting(Role.SYSTEM))
                self._files.wait(job.id, self._grace_seconds)
                if self._files.ended(job.id) is None:
                    self._files.end(job.id, JobState.STOPPED, None)

    def blocking(self) -> Job | None:
        """On this machine, whose cores are enough for one; a cluster elsewhere has a queue."""
        if not self._find(self._settings).here:
            return None
        return next((job for job in self._here() if job.state.active), None)

    def _hand_in(self, place: Place, request: JobRequest, actor: Actor) -> Job:
        ray = RayJobs(place.url)
        ray.require_token()
        job_id = self._files.new_id(request.kind)
        workspace = self._workspace(request.workspace) if request.workspace else None
        environment = job_environment(self._settings, job_id, actor)
        if not place.here:
            environment |= remote_environment(self._settings)
        patience = int(self._grace_seconds) + _RAY_MARGIN_SECONDS
        environment |= {"RAY_JOB_STOP_WAIT_TIME_S": str(patience), "PYTHONUNBUFFERED": "1"}
        metadata = {
            KIND: request.kind.value,
            STARTED_BY: actor.pseudonym,
            PARAMETERS: json.dumps(dict(request.parameters)),
        }
        if place.here:
            line, uri = self._line_in_place(job_id, request, workspace), ""
        else:
            with job_package(workspace, request.weights) as (package, digest):
                line, uri = self._line_elsewhere(request), ray.upload(package, digest)
        folder = str(workspace.folder) if workspace else ""
        record = JobRecord(
            request.kind, actor.pseudonym, request.parameters, place.url, place.here, folder
        )
        # Before Ray starts it: what runs in place writes beside it.
        self._files.write(job_id, record)
        try:
            ray.submit(job_id, line, environment=environment, metadata=metadata, working_dir=uri)
        except BaseException:
            self._files.forget(job_id)
            raise
        return self._files.job(job_id, JobState.QUEUED)

    def _line_in_place(self, job_id: str, request: JobRequest, workspace: Workspace | None) -> str:
        home = self._settings.home
        words = [sys.executable, "-m", "cluster.job_runner", str(self._files.base(job_id))]
        words += [str(self._grace_seconds), *self._program, "--home", str(home)]
        folder = workspace.folder if workspace else home
        return f"cd {shlex.quote(str(folder))} && exec {shlex.join([*words, *request.arguments])}"

    def _line_elsewhere(self, request: JobRequest) -> str:
        return shlex.join(["sh", "cluster/job.sh", str(self._grace_seconds), *request.arguments])

    def _workspace(self, folder: Path) -> Workspace:
        own = folder == self._settings.home / "workspace" or folder == self._settings.workspace
        if own and not (folder / "dvc.yaml").exists():
            return init_workspace(folder)
        return Workspace(folder)

    def _workspace_folder(self) -> Path:
        """``SECONDLOOK_WORKSPACE``, the home's own, or the folder that the app was started in."""
        if self._settings.workspace is not None:
            return self._settings.workspace
        own = self._settings.home / "workspace"
        elsewhere = (self._started_in / "dvc.yaml").is_file()
        return self._started_in if elsewhere and not own.exists() else own

    def _here(self) -> Iterator[Job]:
        """Those in place, without asking other clusters of the rest."""
        return self._looked(each for each in self._files.records() if each[1].here)

    def _looked(self, records: Iterable[tuple[str, JobRecord]]) -> Iterator[Job]:
        for job_id, _ in records:
            with contextlib.suppress(NotFound):  # another process has forgotten it this moment
                yield self._look(job_id)

    def _look(self, job_id: str) -> Job:
        ended = self._files.ended(job_id)
        if ended is not None:
            return ended
        record = self._files.record(job_id)
        if record.here:
            seen, process = self._files.process(job_id)
            if process is not None:
                return self._running(job_id, JobState.RUNNING)
            if seen:  # it may have written its end a moment ago
                return self._files.ended(job_id) or self._lost(job_id)
        until, job = self._told.get(job_id, (0.0, None))
        if job is None or time.monotonic() > until:
            seconds, job = self._ask(job_id, record)
            self._told[job_id] = (time.monotonic() + seconds, job)
        return job

    def _ask(self, job_id: str, record: JobRecord) -> tuple[float, Job]:
        """What Ray knows of the job, and for how many seconds that is good."""
        ray = RayJobs(record.url)
        try:
            told = ray.get(job_id)
            log = "" if told.active else ray.log(job_id)
        except NotFound:
            if _seconds_since(record.started_at) < _START_SECONDS:
                return _KNOWN_SECONDS, self._running(job_id, JobState.QUEUED)
            if record.here:
                return _KNOWN_SECONDS, self._lost(job_id)
            why = f"The cluster at {record.url} does not know this job: it was started anew since."
            return _KNOWN_SECONDS, self._lose(job_id, why)
        except LoopError as error:
            return _SILENCE_SECONDS, self._unheard(job_id, record, error.message)
        if told.active:
            return _KNOWN_SECONDS, self._running(job_id, _STATES[told.status])
        return _KNOWN_SECONDS, self._files.ended(job_id) or self._keep(job_id, told, log)

    def _keep(self, job_id: str, told: RayJob, log: str) -> Job:
        """Write down how it ended: Ray forgets it with the cluster."""
        state = _STATES[told.status]
        if state is JobState.FAILED:
            if told.exit_code is None:  # it never began, and its log does not say why
                log = f"{log.rstrip()}\n{told.message}\n".lstrip()
            if self._files.asked_to_stop(job_id):
                state = JobState.STOPPED
        self._files.keep_log(job_id, log)
        self._printed.pop(job_id, None)
        return self._files.end(job_id, state, told.exit_code, told.ended_at)

    def _unheard(self, job_id: str, record: JobRecord, why: str) -> Job:
        """Of a cluster that does not answer. In place, it may have gone with all its jobs."""
        if not record.here:
            return replace(self._running(job_id, JobState.RUNNING), silence=why)
        if _seconds_since(record.started_at) > _START_SECONDS:
            return self._lost(job_id)
        return self._running(job_id, JobState.QUEUED)

    def _lost(self, job_id: str) -> Job:
        """Nobody was left to see it end."""
        stopped = self._files.asked_to_stop(job_id)
        return self._files.end(job_id, JobState.STOPPED if stopped else JobState.FAILED, None)

    def _lose(self, job_id: str, why: str) -> Job:
        """A job elsewhere, of which nothing will be known any more."""
        self._files.keep_log(job_id, f"{why} What the job has printed is lost.\n")
        return self._lost(job_id)

    def _log_elsewhere(self, job_id: str, record: JobRecord) -> str:
        """Raises `Unavailable` without asking where the cluster has just not answered."""
        until, text = self._printed.get(job_id, (0.0, ""))
        if time.monotonic() > until:
            job = self._look(job_id)
            if job.silence:
                raise Unavailable(job.silence)
            if not job.state.active:
                return self._files.whole_log(job_id)
            began = time.monotonic()
            text = RayJobs(record.url).log(job_id)
            took = time.monotonic() - began
            self._printed[job_id] = (began + took + max(_KNOWN_SECONDS, 4 * took), text)
        return text

    def _running(self, job_id: str, state: JobState) -> Job:
        asked = self._files.asked_to_stop(job_id)
        return self._files.job(job_id, JobState.STOPPING if asked else state)

    def _interrupt(self, job: Job, actor: Actor) -> None:
        subject, details = {"job_id": job.id}, {"parameters": dict(job.parameters)}
        self._record("stopped", job.kind, actor, subject, details, Outcome.INTENDED)
        try:
            self._tell_to_end(job)
        except LoopError as error:
            failed = Outcome.FAILED
            self._record("stopped", job.kind, actor, subject, details, failed, error.message)
            raise
        self._record("stopped", job.kind, actor, subject, details)

    def _tell_to_end(self, job: Job) -> None:
        try:
            record = self._files.record(job.id)
        except NotFound:  # others', on the same cluster
            RayJobs(self._find(self._settings).url).stop(job.id)
            return
        if record.here:  # first: it may end, and say how, before Ray answers
            self._files.note_stop(job.id)
        try:
            RayJobs(record.url).stop(job.id)
        except LoopError:
            if not record.here:
                raise
            self._files.interrupt(job.id)
        self._files.note_stop(job.id)
        self._told.pop(job.id, None)

    def _record(
        self,
        verb: str,
        kind: JobKind,
        actor: Actor,
        subject: Mapping[str, Any],
        details: Mapping[str, Any],
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
    ) -> None:
        noun = "measurement" if kind in _MEASUREMENTS else "training"
        with self._units() as uow:
            uow.record(
                Event(
                    type=f"{noun}.{verb}",
                    actor=actor,
                    subject={"kind": kind.value, **subject},
                    details=details,
                    outcome=outcome,
                    reason=reason,
                )
            )
            uow.commit()


def open_training_jobs(settings: Settings, units: UnitsOfWork) -> RayTrainingJobs:
    return RayTrainingJobs(settings, units)


def _parameter(name: str, text: str, values: Params) -> Parameter:
    bounds: dict[str, int] = {}
    for limit in Params.model_fields[name].metadata:
        for attribute, field in (("ge", "minimum"), ("le", "maximum"), ("multiple_of", "step")):
            if (value := getattr(limit, attribute, None)) is not None:
                bounds[field] = value
    return Parameter(name, text, getattr(values, name), **bounds)


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as `train.params` reads them. Raises `InvalidInput`."""
    unknown = [name for name in parameters if name not in _OFFERED]
    if unknown:
        raise InvalidInput(
            f"There is no parameter {unknown[0]} here.", hint=f"There are {', '.join(_OFFERED)}."
        )
    try:
        checked = Params.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise InvalidInput(
            f"{name} = {first.get('input')!r}: {first['msg']}.", hint=_OFFERED[name]
        ) from error
    if not _BASE_MODEL.fullmatch(checked.BASE_MODEL):
        raise InvalidInput(
            f"BASE_MODEL = {checked.BASE_MODEL!r} is not a name.", hint=_OFFERED["BASE_MODEL"]
        )
    return {name: getattr(checked, name) for name in parameters}


def _check_versions(versions: Sequence[str]) -> None:
    if not versions or not all(_VERSION.fullmatch(version) for version in versions):
        raise InvalidInput(f"Not versions of a model: {', '.join(versions) or 'none'}.")


def _foreign(told: RayJob) -> Job | None:
    """A job that another home handed in, or whose files this one has forgotten; None for one that
    is not Second Look's."""
    try:
        kind = JobKind(told.metadata.get(KIND, ""))
        parameters = json.loads(told.metadata.get(PARAMETERS, "{}"))
    except ValueError:
        return None
    return Job(
        id=told.id,
        kind=kind,
        state=_STATES[told.status],
        started_by=told.metadata.get(STARTED_BY, ""),
        parameters=parameters,
        started_at=told.started_at,
        ended_at=told.ended_at,
        exit_code=told.exit_code,
    )


def _seconds_since(at: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()


def _said(job: Job) -> str:
    return f"is {job.state}" if job.state.active else job.state.value

"""Trainings and measurements that people start from the app, as jobs of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.job_files import Command, JobFiles
from loop.access import Permission, require
from loop.errors import Conflict, InvalidInput, LoopError, Misconfigured
from loop.events import Actor, Event, Outcome, Role
from loop.ports import UnitsOfWork
from store.settings import Settings
from store.workspace import Workspace, init_workspace
from train.params import Params, load_params
from train.paths import PARAMS
from ui.operations import Job, JobKind, Parameter

# A training that is interrupted gives its folds, and Ray, a minute to end (store/workspace.py).
_GRACE_SECONDS = 90.0
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
# What only the app itself needs.
_SECRETS = ("SECONDLOOK_SESSION_KEY", "SECONDLOOK_OIDC_CLIENT_SECRET")


class LocalTrainingJobs:
    """Implements `ui.operations.TrainingJobs` with processes; state lies in ``HOME/run/jobs``.

    ``program`` is the command line to start, for tests another one; ``grace_seconds`` is how long
    a job may take to end itself.
    """

    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        *,
        program: Sequence[str] = (sys.executable, "-m", "cluster.cli"),
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        self._settings = settings
        self._units = units
        self._program = program
        self._grace_seconds = grace_seconds
        self._files = JobFiles(settings.run_dir / "jobs")
        self._started_in = Path.cwd()

    def defaults(self) -> tuple[Parameter, ...]:
        values = Params()
        folder = self._workspace_folder()
        # There is none yet, or one that the training itself will complain about.
        with contextlib.suppress(Misconfigured):
            values = load_params(folder / PARAMS)
        return tuple(_parameter(name, text, values) for name, text in _OFFERED.items())

    def start(self, parameters: Mapping[str, Any], *, actor: Actor) -> Job:
        require(actor, Permission.TRAIN)
        checked = _checked(parameters)
        changes = [word for name, value in checked.items() for word in ("-S", f"{name}={value}")]
        return self._start(JobKind.KFOLD, checked, ["train", "kfold", *changes], actor)

    def propose(self, version: str, *, actor: Actor) -> Job:
        require(actor, Permission.TRAIN)
        _check_versions([version])
        arguments = ["models", "compare", version]
        return self._start(JobKind.PROPOSE, {"version": version}, arguments, actor)

    def measure(self, versions: Sequence[str], *, actor: Actor) -> Job:
        require(actor, Permission.TRAIN)
        _check_versions(versions)
        arguments = ["models", "measure", *versions]
        return self._start(JobKind.MEASURE, {"versions": list(versions)}, arguments, actor)

    def jobs(self) -> list[Job]:
        return self._files.jobs()

    def last_output(self, job_id: str) -> float:
        """When the job last printed something, in seconds since 1970."""
        return self._files.last_output(job_id)

    def log(self, job_id: str, lines: int) -> str:
        return self._files.log(job_id, lines)

    def stop(self, job_id: str, *, actor: Actor) -> None:
        require(actor, Permission.TRAIN)
        job = self._files.get(job_id)
        if not job.state.active:
            raise Conflict(f"This job has ended already: it {_said(job)}.")
        self._interrupt(job, actor)

    def end(self) -> None:
        """Interrupt what runs and wait for it: for whoever takes down what it trains on."""
        for job in self._files.jobs():
            if job.state.active:
                self._interrupt(job, self._settings.acting(Role.SYSTEM))
                self._files.wait(job.id, self._grace_seconds)

    def _start(
        self, kind: JobKind, parameters: Mapping[str, Any], arguments: Sequence[str], actor: Actor
    ) -> Job:
        with self._files.turn():
            running = next((job for job in self._files.jobs() if job.state.active), None)
            if running is not None:
                raise Conflict(
                    f"Another job {_said(running)} since {running.started_at[11:16]} UTC.",
                    hint="Wait for it, or stop it.",
                )
            details = {"parameters": dict(parameters)}
            self._record("requested", kind, actor, {}, details, Outcome.INTENDED)
            try:
                job = self._run(kind, parameters, arguments, actor)
            except LoopError as error:
                self._record("requested", kind, actor, {}, details, Outcome.FAILED, error.message)
                raise
            self._record("requested", kind, actor, {"job_id": job.id}, details)
        return job

    def _run(
        self, kind: JobKind, parameters: Mapping[str, Any], arguments: Sequence[str], actor: Actor
    ) -> Job:
        settings = self._settings
        folder = self._workspace() if kind is JobKind.KFOLD else settings.home
        kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        environment = (
            kept
            | settings.environment()
            | {
                "SECONDLOOK_ACTOR": actor.pseudonym,
                "SECONDLOOK_ACTOR_AUTHENTICATED_BY": actor.authenticated_by.value,
            }
        )
        command = [*self._program, "--home", str(settings.home), *arguments]
        return self._files.start(
            kind,
            parameters,
            actor.pseudonym,
            Command(command, folder, environment, self._grace_seconds),
        )

    def _workspace(self) -> Path:
        folder = self._workspace_folder()
        if not (folder / "dvc.yaml").exists():
            return init_workspace(folder).folder
        return Workspace(folder).folder

    def _workspace_folder(self) -> Path:
        """``SECONDLOOK_WORKSPACE``, the home's own, or the folder that the app was started in."""
        if self._settings.workspace is not None:
            return self._settings.workspace
        own = self._settings.home / "workspace"
        elsewhere = (self._started_in / "dvc.yaml").is_file()
        return self._started_in if elsewhere and not own.exists() else own

    def _interrupt(self, job: Job, actor: Actor) -> None:
        details = {"parameters": dict(job.parameters)}
        self._record("stopped", job.kind, actor, {"job_id": job.id}, details)
        self._files.interrupt(job.id)

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
        noun = "training" if kind is JobKind.KFOLD else "measurement"
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


def open_training_jobs(settings: Settings, units: UnitsOfWork) -> LocalTrainingJobs:
    return LocalTrainingJobs(settings, units)


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


def _said(job: Job) -> str:
    return f"is {job.state}" if job.state.active else job.state.value

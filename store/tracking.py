"""Runs, metrics and artifacts in MLflow: SQLite in the home, or a server by URL.

Only `MlflowClient` with explicit run ids: the fluent API keeps its state in globals and in the
environment, which breaks as soon as several runs are open. MLflow takes seconds to import, so it
is imported when a `Tracking` is first used.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loop.errors import BrokenRecord, LoopError, Misconfigured, NotFound, Unavailable
from store.data_inputs import DataInput
from store.database import one_migration
from store.settings import Settings
from store.storage_url import BucketStorage, parse_storage_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "second-look"
PARENT_TAG = "mlflow.parentRunId"
# What a run is of: cv, fold, search, …
KIND_TAG = "loop.kind"

_SQLITE = "sqlite:///"
# What MLflow allows in a metric's name (mlflow/utils/validation.py).
_NOT_IN_METRIC_NAMES = re.compile(r"[^\w./ :-]")
# `log_batch` takes at most so many params (mlflow/utils/validation.py).
_MOST_PARAMS_A_CALL = 100
# MLflow waits 20 s for SQLite's lock, but a reader that wants to write while another does is
# refused at once (SQLITE_BUSY): with a few processes the lock is free again in milliseconds.
_ATTEMPTS = 8
_FIRST_WAIT_S = 0.05

_T = TypeVar("_T")
# Variables for MLflow that come from the settings, in this process.
_set_here: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class RunInfo:
    """``metrics`` are the latest values; ``status`` is MLflow's (``RUNNING``, ``FINISHED``…).

    Times are RFC 3339 in UTC; ``ended_at`` is empty while the run is open.
    """

    run_id: str
    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    status: str
    artifact_uri: str
    experiment_id: str
    started_at: str = ""
    ended_at: str = ""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """A value as it was logged ``at`` a time (RFC 3339, UTC), for a step."""

    step: int
    value: float
    at: str


class Tracking:
    """``uri`` is an absolute SQLite URL or an HTTP one; ``artifacts`` a folder for the former,
    unless they go below the URL ``root``. A server decides for itself.

    Raises `Unavailable` when MLflow does not answer, `NotFound` for an unknown run.
    """

    def __init__(self, uri: str, artifacts: Path, root: str = "") -> None:
        if uri.startswith(_SQLITE) and not uri.startswith(_SQLITE + "/"):
            raise Misconfigured(
                f"MLFLOW_TRACKING_URI={uri} is relative to the working directory.",
                hint="Ray changes the working directory: give four slashes and an absolute path.",
            )
        self.uri = uri
        self.artifacts = artifacts
        self._root = root or artifacts.absolute().as_uri()

    def prepare(self) -> None:
        """Create or check the database and the experiment: once, before workers start.

        First use in parallel races on MLflow's migrations, so drivers take turns here.
        """
        self.call(lambda: self.client)
        with self._turn():
            self.experiment_id(EXPERIMENT)

    def experiment_id(self, name: str) -> str:
        """The experiment of that name, made if there is none."""

        def find_or_create() -> str:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                location = f"{self._root}/{name}" if self._embedded else None
                return str(self.client.create_experiment(name, artifact_location=location))
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

        return self.call(find_or_create)

    def start_run(
        self,
        experiment: str,
        name: str,
        *,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        parent: str | None = None,
    ) -> str:
        """Open a run, as a child of ``parent`` if given, and return its id."""
        experiment_id = self.experiment_id(experiment)
        all_tags = {**tags, **({PARENT_TAG: parent} if parent else {})}
        run_id = self.call(
            lambda: str(
                self.client.create_run(experiment_id, tags=all_tags, run_name=name).info.run_id
            )
        )
        self._log_params(run_id, params)
        return run_id

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], step: int, *, at_ms: int | None = None
    ) -> None:
        """``at_ms`` is the time, in milliseconds since the epoch: now, if it is not given."""
        from mlflow.entities import Metric

        # One time stamp for all attempts: the same value at the same time is kept once.
        at = at_ms if at_ms is not None else int(time.time() * 1000)
        batch = [
            Metric(_NOT_IN_METRIC_NAMES.sub("_", name), float(value), at, step)
            for name, value in metrics.items()
        ]
        self.call(lambda: self.client.log_batch(run_id, metrics=batch))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        batch = [RunTag(name, value) for name, value in tags.items()]
        self.call(lambda: self.client.log_batch(run_id, tags=batch))

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Keep a copy of ``path`` as an artifact below ``folder``."""
        self.call(lambda: self.client.log_artifact(run_id, str(path), folder or None))

    def log_folder(self, run_id: str, folder: Path, path: str = "") -> None:
        """Keep a copy of everything in ``folder`` as artifacts below ``path``."""
        self.call(lambda: self.client.log_artifacts(run_id, str(folder), path or None))

    def log_inputs(self, run_id: str, *inputs: DataInput) -> None:
        """Say which data a run works on; what it says already stays as it is."""
        self.call(lambda: self.client.log_inputs(run_id, [each.as_mlflow() for each in inputs]))

    def log_text(self, run_id: str, text: str, path: str) -> None:
        self.call(lambda: self.client.log_text(run_id, text, path))

    def end_run(self, run_id: str, ok: bool, *, killed: bool = False) -> None:
        """``killed``: somebody ended it, it did not fail."""
        status = "KILLED" if killed else "FINISHED" if ok else "FAILED"
        self.call(lambda: self.client.set_terminated(run_id, status))

    def reopen(self, run_id: str) -> None:
        """A run that ended is open again, and how it ended is no longer true."""
        for tag in {"loop.failure", "loop.stopped"} & self.run(run_id).tags.keys():
            self.call(lambda tag=tag: self.client.delete_tag(run_id, tag))  # type: ignore[misc]
        self.call(lambda: self.client.update_run(run_id, "RUNNING"))

    def run(self, run_id: str) -> RunInfo:
        return _run_info(self.call(lambda: self.client.get_run(run_id)))

    def runs(self, tags: Mapping[str, str], limit: int) -> list[RunInfo]:
        """The newest runs that carry all these tags, newest first."""
        experiment_id = self.experiment_id(EXPERIMENT)
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self.call(
            lambda: self.client.search_runs(
                [experiment_id],
                wanted,
                order_by=["attributes.start_time DESC"],
                max_results=limit,
            )
        )
        return [_run_info(run) for run in found]

    def top_runs(self, limit: int) -> list[RunInfo]:
        """The newest runs that say what they are and lie below no other, newest first."""
        experiment_id = self.experiment_id(EXPERIMENT)
        found = self.call(
            lambda: self.client.search_runs(
                [experiment_id],
                f"tags.`{PARENT_TAG}` IS NULL AND tags.`{KIND_TAG}` IS NOT NULL",
                order_by=["attributes.start_time DESC"],
                max_results=limit,
            )
        )
        return [_run_info(run) for run in found]

    def latest_metrics(self, run_id: str) -> dict[str, float]:
        return dict(self.run(run_id).metrics)

    def metric_steps(self, run_id: str, metric: str) -> list[int]:
        """The steps at which ``metric`` was logged, in order, once for each time."""
        history = self.call(lambda: self.client.get_metric_history(run_id, metric))
        return sorted(entry.step for entry in history)

    def metric_history(self, run_id: str, metric: str) -> list[MetricPoint]:
        """What was logged of ``metric``, by step; of a step that was logged twice, the last."""
        entries = self.call(lambda: self.client.get_metric_history(run_id, metric))
        by_step = {e.step: e for e in sorted(entries, key=lambda e: (e.step, e.timestamp))}
        return [
            MetricPoint(e.step, float(e.value), _rfc3339(e.timestamp)) for e in by_step.values()
        ]

    def children(self, run_id: str) -> list[str]:
        """Ids of the child runs, oldest first."""
        return [run.run_id for run in self.child_runs(run_id)]

    def child_runs(self, run_id: str) -> list[RunInfo]:
        """Oldest first."""
        parent = self.call(lambda: self.client.get_run(run_id))
        runs = self.call(
            lambda: self.client.search_runs(
                [parent.info.experiment_id],
                f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'",
                order_by=["attributes.start_time ASC"],
            )
        )
        return [_run_info(run) for run in runs]

    def read_text(self, run_id: str, path: str) -> str:
        """A text that was kept as an artifact. Raises `NotFound`, `BrokenRecord` if it is none."""
        with tempfile.TemporaryDirectory() as folder:
            local = self.call(lambda: self.client.download_artifacts(run_id, path, folder))
            try:
                return Path(local).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise BrokenRecord(f"The artifact {path} is not text.") from error

    @cached_property
    def client(self) -> MlflowClient:
        """For `store.model_registry`; nothing outside `store` sees MLflow."""
        _quieten()
        from mlflow import MlflowClient

        with one_migration, self._turn():  # the constructor migrates the database
            return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def call(self, action: Callable[[], _T]) -> _T:
        """Run ``action`` on MLflow, again while the database is busy; errors become ours."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._call_once(action)
            except _BusyError:
                if attempt < _ATTEMPTS - 1:
                    wait = _FIRST_WAIT_S * 2**attempt
                    time.sleep(wait * (0.5 + random.random()))  # noqa: S311  # spreads the callers
        raise Unavailable(
            f"MLflow at {self.uri} stayed busy.",
            hint="Stop other writers, or use a server: MLFLOW_TRACKING_URI.",
        )

    def _call_once(self, action: Callable[[], _T]) -> _T:
        _quieten()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            return action()
        except OperationalError as error:
            raise _BusyError from error
        except MlflowException as error:
            if error.error_code == "TEMPORARILY_UNAVAILABLE":
                raise _BusyError from error
            raise self._translated(error) from error
        except OSError as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> LoopError:
        code = getattr(error, "error_code", "")
        text = str(error).strip() or type(error).__name__
        reason = text.splitlines()[0].split(" failed with exception")[0]
        if code == "RESOURCE_DOES_NOT_EXIST":
            return NotFound(f"MLflow has no such record: {reason}")
        if "out-of-date database schema" in str(error):
            return Misconfigured(
                f"The database of {self.uri} was made by another MLflow version.",
                hint=f"Back it up, then: mlflow db upgrade {self.uri}",
            )
        return Unavailable(
            f"MLflow at {self.uri} does not do it: {reason}",
            hint="Check MLFLOW_TRACKING_URI and that its server runs.",
        )

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), _MOST_PARAMS_A_CALL):
            batch = entries[start : start + _MOST_PARAMS_A_CALL]
            self.call(lambda batch=batch: self.client.log_batch(run_id, params=batch))  # type: ignore[misc]

    @property
    def _embedded(self) -> bool:
        return self.uri.startswith(_SQLITE)

    @property
    def _database(self) -> Path:
        return Path(self.uri.removeprefix(_SQLITE))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time, among those that share the embedded database."""
        if not self._embedded:
            yield
            return
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with self._database.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _BusyError(Exception):
    """Another process holds SQLite's lock."""


def _run_info(run: Any) -> RunInfo:
    return RunInfo(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        status=run.info.status,
        artifact_uri=run.info.artifact_uri,
        experiment_id=run.info.experiment_id,
        started_at=_rfc3339(run.info.start_time),
        ended_at=_rfc3339(run.info.end_time) if _has_ended(run) else "",
    )


def _has_ended(run: Any) -> bool:
    """MLflow keeps the time at which a run that was opened again had ended."""
    return bool(run.info.end_time) and run.info.status != "RUNNING"


def _rfc3339(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def open_tracking(settings: Settings) -> Tracking:
    for name, value in artifact_environment(settings).items():
        # Whoever has set it, if not this, has another store for MLflow.
        if os.environ.get(name) in (None, _set_here.get(name)):
            os.environ[name] = _set_here[name] = value
    return Tracking(settings.tracking, settings.artifacts, artifact_root(settings))


def artifact_root(settings: Settings) -> str:
    """Where MLflow keeps artifacts, unless a server that others started does: in the home, or in
    the bucket of ``SECONDLOOK_STORAGE_URL``."""
    storage = parse_storage_url(settings.storage_url)
    if isinstance(storage, BucketStorage):
        return storage.below("mlflow")
    return settings.artifacts.as_uri()


def artifact_environment(settings: Settings) -> dict[str, str]:
    """What MLflow must find in its environment to reach the bucket."""
    storage = parse_storage_url(settings.storage_url)
    if not isinstance(storage, BucketStorage) or not storage.endpoint_url:
        return {}
    return {"MLFLOW_S3_ENDPOINT_URL": storage.endpoint_url}


def _quieten() -> None:
    """No telemetry, no log lines, no bars; errors reach us as exceptions. Before MLflow's import.

    Its defaults retry for four minutes when nobody listens at the URL (measured).
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_CONFIGURE_LOGGING": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # On stdout, where programs read what a command prints with --json.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }.items():
        os.environ.setdefault(name, value)
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)

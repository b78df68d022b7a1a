"""Trials in the running service, and their comparison in MLflow: written here, not by replicas."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog

from loop.errors import Conflict, LoopError, Unavailable
from loop.events import Actor, Authentication, Role
from loop.ordering import latest_order
from loop.ports import UnitsOfWork
from loop.promoting import CHAMPION
from loop.trial_comparison import compare, metrics
from loop.trial_counts import TrialCounts, summed
from loop.trials import Trial, TrialPlan, TrialState
from loop.trying_out import TrialService, fail_trial, note_counts
from serve.release import ask_for, require_service, wait_until_tried
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.settings import Settings
from store.tracking import EXPERIMENT, KIND_TAG, Tracking
from store.unit_of_work import open_units_of_work

_log = structlog.get_logger(__name__)

_TRY_SECONDS = 120.0
# Well above what `RunningTrials.put` waits for.
_STARTING_SECONDS = 300.0
_CALL_SECONDS = 30.0
# How often a live comparison goes to MLflow: often enough to watch, rare enough to cost nothing.
WATCH_SECONDS = 10.0
_WATCHER = Actor("trial", Role.SYSTEM, Authentication.PROCESS)


class RunningTrials:
    """`loop.trying_out.TrialService` of what runs behind these addresses; where ``dashboard_url``
    is empty, the API alone is asked."""

    def __init__(self, settings: Settings, dashboard_url: str, api_url: str) -> None:
        self._settings = settings
        self._dashboard_url = dashboard_url
        self._api_url = api_url

    def put(self, plan: TrialPlan | None) -> None:
        champion = open_model_registry(self._settings).find_alias(CHAMPION)
        require_service(self._dashboard_url, self._api_url, api_headers(self._settings))
        units = open_units_of_work(self._settings)
        latest = latest_order(units)
        ordered = latest.model if latest is not None else champion
        if plan is not None and ordered != champion:
            raise Conflict(
                "Another version is being taken into service, or was not put back.",
                hint="Try it again once secondlook status says that the champion serves.",
            )
        # To end a trial puts no model into service.
        order = ask_for(self._settings, ordered, plan, while_stopped=plan is None)
        wait_until_tried(
            self._api_url,
            order,
            _TRY_SECONDS,
            api_headers(self._settings),
            still_counts=lambda: latest_order(units) == order,
        )

    def counts(self, trial_id: str) -> Mapping[str, TrialCounts]:
        found = self._get("/v1/trial")["trials"].get(trial_id, {})
        return {replica: TrialCounts.from_dict(each) for replica, each in found.items()}

    def error(self, trial_id: str) -> str | None:
        told = self._get("/v1/model")["trial"]
        return told["error"] if told and told["id"] == trial_id else None

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with httpx.Client(
                base_url=self._api_url,
                headers=api_headers(self._settings),
                timeout=_CALL_SECONDS,
                trust_env=False,
            ) as client:
                response = client.get(path)
                response.raise_for_status()
                found: dict[str, Any] = response.json()
                return found
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(
                f"The API does not tell of the trial: {error}.",
                hint="secondlook status shows what runs.",
            ) from error


def open_run(tracking: Tracking, trial: Trial) -> str:
    """An MLflow run for the comparison."""
    candidate, champion = trial.candidate, trial.champion
    return tracking.start_run(
        EXPERIMENT,
        f"{trial.kind.value} of version {candidate.version}",
        tags={
            KIND_TAG: "trial",
            "loop.trial_id": trial.id,
            "loop.trial_kind": trial.kind.value,
            "loop.trial_share": f"{trial.share:g}",
            "loop.candidate_version": candidate.version,
            "loop.candidate_sha256": candidate.digest,
            "loop.champion_version": champion.version,
            "loop.champion_sha256": champion.digest,
        },
        params={"kind": trial.kind.value, "share": trial.share},
    )


def close_record(units: UnitsOfWork, tracking: Tracking, trial: Trial) -> None:
    """Write what a trial that ended came to, and end its run. Done twice, it is the same."""
    with units() as uow:
        comparison = compare(summed(uow.trials.counts(trial.id).values()))
    if trial.run_id:
        log_comparison(tracking, trial, comparison)
        text = json.dumps({"trial": trial.as_dict(), "comparison": comparison}, indent=2)
        tracking.log_text(trial.run_id, text, "comparison.json")
        tracking.end_run(trial.run_id, ok=trial.state is TrialState.STOPPED)
    with units() as uow:
        uow.trials.close(trial.id)
        uow.commit()


def log_comparison(tracking: Tracking, trial: Trial, comparison: Mapping[str, Any]) -> None:
    """By the number of images that the candidate has seen."""
    tracking.log_metrics(trial.run_id, metrics(dict(comparison)), comparison["images"])


def _seconds_since(at: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()


FindService = Callable[[], TrialService | None]


class TrialWatch:
    """Takes what replicas have counted to the database and MLflow, while a trial runs.

    It has no state that is missed after a restart, and several of them do no harm.
    """

    def __init__(self, units: UnitsOfWork, tracking: Tracking, find_service: FindService) -> None:
        self._units = units
        self._tracking = tracking
        self._find_service = find_service
        self._logged: dict[str, int] = {}

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(WATCH_SECONDS):
            try:
                self.look()
            except Exception:  # what is away now may be there the next time
                _log.exception("trials.not_watched")

    def look(self) -> None:
        """Once. Raises what the database raises; what goes wrong with one trial is logged."""
        with self._units() as uow:
            unfinished = uow.trials.unfinished()
        for trial in unfinished:
            try:
                self._follow(trial)
            except LoopError as error:
                _log.warning("trial.not_followed", trial=trial.id, error=error.message)

    def _follow(self, trial: Trial) -> None:
        service = self._find_service()
        if service is not None:
            with suppress(Unavailable):
                note_counts(self._units, trial.id, service.counts(trial.id))
        if not trial.open:
            close_record(self._units, self._tracking, trial)
            return
        if trial.state is TrialState.STARTING:  # whoever starts it is still at it, or was killed
            if _seconds_since(trial.created_at) > _STARTING_SECONDS:
                reason = "Whoever started it went away before it ran."
                fail_trial(self._units, trial.id, reason, actor=_WATCHER, service=service)
            return
        with self._units() as uow:
            comparison = compare(summed(uow.trials.counts(trial.id).values()))
        if comparison["images"] > self._logged.get(trial.id, 0):
            log_comparison(self._tracking, trial, comparison)
            self._logged[trial.id] = comparison["images"]
        error = service.error(trial.id) if service is not None else None
        if service is not None and error:
            fail_trial(self._units, trial.id, error, actor=_WATCHER, service=service)

"""Trainings and folds in Prometheus' terms, wherever they run: their events are all in one log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cluster.app_figures import gauge, unix
from loop.accounts import stamp
from loop.events import Event, Outcome
from loop.training_history import FOLD, OPEN_DAYS, TRAININGS, TYPES, TrainingHistory
from store.audit_log import AuditLog
from store.figures import events_after, newest_events

# Of each type, when the app begins: more than one cross-validation has.
_REMEMBERED = 100
_OUTCOMES = (Outcome.DONE, Outcome.FAILED)


class TrainingWatch:
    """Reads each event of a training once. ``clock`` gives seconds since 1970."""

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._rows = log.rows
        self._clock = clock
        self._history = TrainingHistory()
        self._read_to: int | None = None  # the last index

    def families(self) -> list[Metric]:
        """Raises `Unavailable`."""
        self._read()
        history = self._history
        ended = CounterMetricFamily(
            "secondlook_trainings_ended",
            "Trainings, cross-validations (kfold), final models (refit), searches and folds that "
            "ended since the app began.",
            labels=["kind", "outcome"],
        )
        for kind in (*TRAININGS, FOLD):
            for outcome in _OUTCOMES:
                ended.add_metric([kind, outcome.value], history.ended[kind, outcome])
        last = GaugeMetricFamily(
            "secondlook_training_ended_timestamp_seconds",
            "When a training of any kind last ended so; 0 if none did.",
            labels=["outcome"],
        )
        for outcome in _OUTCOMES:
            at = history.last_ended.get(outcome)
            last.add_metric([outcome.value], unix(at) if at else 0.0)
        return [ended, last, *self._open_families(), *self._fold_families()]

    def _open_families(self) -> list[Metric]:
        at = datetime.fromtimestamp(self._clock(), UTC)
        since = stamp(at - timedelta(days=OPEN_DAYS))
        open_ones = GaugeMetricFamily(
            "secondlook_trainings_open",
            f"Those that began within {OPEN_DAYS} days and have not ended: they are at work, or "
            "lost.",
            labels=["kind"],
        )
        for kind in (*TRAININGS, FOLD):
            open_ones.add_metric([kind], self._history.open(kind, since))
        heard = self._history.last_heard
        text = "When the last event of a training came; 0 if there is none."
        value = unix(heard) if heard else 0.0
        return [open_ones, gauge("training_event_timestamp_seconds", text, value)]

    def _fold_families(self) -> list[Metric]:
        seconds = GaugeMetricFamily(
            "secondlook_fold_seconds",
            "How long a fold of the newest cross-validation trained.",
            labels=["fold"],
        )
        score = GaugeMetricFamily(
            "secondlook_fold_map50_95",
            "mAP50-95 of a fold of the newest cross-validation, on its validation images.",
            labels=["fold"],
        )
        for fold, figures in sorted(self._history.folds.items()):
            for family, value in ((seconds, figures.seconds), (score, figures.map50_95)):
                if value is not None:
                    family.add_metric([str(fold)], value)
        return [seconds, score]

    def _read(self) -> None:
        if self._read_to is None:
            size = self._rows.state().head.size
            self._take(newest_events(self._rows.engine, TYPES, _REMEMBERED, size), new=False)
            self._read_to = size - 1
        while found := events_after(self._rows.engine, TYPES, self._read_to):
            self._take(found, new=True)

    def _take(self, found: list[tuple[int, Event]], *, new: bool) -> None:
        for index, event in found:
            self._history.add(event, new=new)
            self._read_to = index

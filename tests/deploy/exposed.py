"""What there is to be scraped: the labels of each sample, by the sample's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cluster.app_metrics import open_app_metrics
from detector.jobs import Stage
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.predictions import ModelRef
from serve.metrics import Metrics
from serve.model_slot import SwapOutcome
from serve.service import Detected
from store.unit_of_work import units_of_work
from tests.cluster.fakes import proposal
from tests.serve.fakes import CLASSES
from tests.serve.test_drift import detections, reference
from tests.serve.test_metrics import IN_SERVICE, ONE
from tests.store.logs import sqlite_log
from tests.store.test_unit_of_work import keep
from ui.operations import Job, JobKind, JobState

ACTOR = Actor("ana", Role.ENGINEER, Authentication.OPERATING_SYSTEM)
CHAMPION = ModelRef("detector", "2", "c" * 64)
RUNNING = Job("j1", JobKind.KFOLD, JobState.RUNNING, "ana", {}, "2026-01-01T00:00:00.000000Z")

Labels = dict[str, set[str]]


class Registry:
    def find_alias(self, alias: str) -> ModelRef:
        del alias
        return CHAMPION

    def created_at(self, ref: ModelRef) -> str:
        del ref
        return RUNNING.started_at


def of_api() -> Labels:
    """Of a replica at work."""
    metrics = Metrics()
    metrics.expect(reference(), 500)
    metrics.request("/v1/detect", "POST", 200, 0.1)
    for stage in ("read", "queue", "decode", "detect"):
        metrics.stage(stage, 0.1)
    for each in Stage:
        metrics.engine_stage(each, 0.1)
    metrics.batch(2)
    metrics.swap(SwapOutcome.SERVED)
    for _ in range(500):
        metrics.detected(Detected(ONE, CLASSES, detections((0, 0.9), (1, 0.4))))
    return _labels(metrics.families(IN_SERVICE), {"replica"})


def of_app(folder: Path) -> Labels:
    """Of an app that has something of everything."""
    log = sqlite_log(folder, 1)
    log.rows.put(fold_ended())
    log.integrate()
    log.witnesses.sizes = lambda note: {"w.example": 1}  # type: ignore[method-assign]
    units = units_of_work(log.rows.engine)
    keep(units, lambda uow: uow.promotions.add(proposal(CHAMPION, None)))
    registry: Any = Registry()
    metrics = open_app_metrics(folder, units, log, registry, lambda: [RUNNING], lambda _: 0.0)
    text = metrics.text().decode()
    metrics.close()
    return _labels(text_string_to_metric_families(text), set())


def fold_ended(fold: int = 0, outcome: Outcome = Outcome.DONE) -> Event:
    subject = {
        "snapshot_sha256": "a" * 64,
        "base_weights_sha256": "",
        "mlflow_run_id": "r1",
        "fold": fold,
        "fold_run_id": f"r1-{fold}",
    }
    details = {"metrics": {"map50_95": 0.5}, "seconds": 60.0}
    return Event("fold.ended", ACTOR, subject, details, outcome)


def _labels(families: Iterable[Metric], more: set[str]) -> Labels:
    found: Labels = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update({*sample.labels, *more})
    return found

"""What the app tells Prometheus: of the queue, the audit log, trainings, the champion, the disk.

Each part is read at most once in so many seconds, however often somebody scrapes, and beside the
scrape: one that waits for a busy database or for MLflow keeps none of the others back. A part that
could not be read has no samples until it can be: an old figure would look like a new one.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cluster.app_figures import champion_families, job_families, queue_families
from cluster.log_figures import LogWatch
from cluster.training_figures import TrainingWatch
from loop.errors import LoopError
from loop.ports import UnitsOfWork
from store.audit_log import AuditLog
from store.figures import read_queue
from store.model_registry import ModelRegistry
from ui.operations import Job

# What a scrape waits for parts that are due; those that take longer are in a later one.
_PATIENCE_SECONDS = 4.0
_QUICK_SECONDS = 10.0
_SLOW_SECONDS = 60.0  # what asks MLflow

_log = structlog.get_logger(__name__)

Read = Callable[[], Iterable[Metric]]


@dataclass(slots=True)
class _Part:
    """``read_at`` is when ``families`` were read, on the clock that only goes forward."""

    name: str
    every_seconds: float
    read: Read
    families: list[Metric] = field(default_factory=list)
    read_at: float | None = None
    failed: bool = False
    asked_at: float | None = None
    asked: Future[None] | None = None


class AppMetrics:
    """``parts`` are a name, how often it is read at most, in seconds, and how."""

    def __init__(
        self,
        parts: Iterable[tuple[str, float, Read]],
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = [_Part(*each) for each in parts]
        self._patience_seconds = patience_seconds
        self._seconds = seconds
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max(1, len(self._parts)), "metrics")

    def text(self) -> bytes:
        """In Prometheus' text format."""
        with self._lock:
            asked = [each for each in map(self._ask, self._parts) if each is not None]
        wait(asked, timeout=self._patience_seconds)
        return generate_latest(_Gathered(self._families()))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, part: _Part) -> Future[None] | None:
        """Have it read if it is due; None if there is nothing to wait for."""
        if part.asked is not None and not part.asked.done():
            return part.asked
        now = self._seconds()
        if part.asked_at is not None and now - part.asked_at < part.every_seconds:
            return None
        part.asked_at = now
        part.asked = self._threads.submit(self._read, part)
        return part.asked

    def _read(self, part: _Part) -> None:
        try:
            part.families = list(part.read())
            part.read_at, part.failed = self._seconds(), False
        except Exception as error:
            # Of whatever kind: the other parts are told all the same, and this one is missed.
            said = error.as_dict() if isinstance(error, LoopError) else repr(error)
            if not part.failed:
                _log.warning("metrics.part_failed", part=part.name, error=said)
            part.families, part.failed = [], True

    def _families(self) -> Iterator[Metric]:
        read = GaugeMetricFamily(
            "secondlook_part_read",
            "1 if the app could read this part of its figures when it last tried, else 0.",
            labels=["part"],
        )
        age = GaugeMetricFamily(
            "secondlook_part_age_seconds", "How old this part's figures are.", labels=["part"]
        )
        now = self._seconds()
        for part in self._parts:
            yield from part.families
            if part.failed or part.read_at is not None:
                read.add_metric([part.name], 0.0 if part.failed else 1.0)
            if part.read_at is not None:
                age.add_metric([part.name], now - part.read_at)
        yield from (read, age)


def open_app_metrics(
    home: Path,
    units: UnitsOfWork,
    log: AuditLog,
    registry: ModelRegistry,
    jobs: Callable[[], list[Job]],
    last_output: Callable[[str], float],
) -> AppMetrics:
    """``last_output`` says of a job when it last printed something, in seconds since 1970."""
    engine = log.rows.engine
    watch, trainings = LogWatch(log), TrainingWatch(log)
    return AppMetrics(
        [
            ("queue", _QUICK_SECONDS, queue_families(lambda at: read_queue(engine, at))),
            ("log", _QUICK_SECONDS, watch.families),
            ("trainings", _QUICK_SECONDS, trainings.families),
            ("jobs", _QUICK_SECONDS, lambda: job_families(jobs(), last_output, time.time())),
            ("models", _SLOW_SECONDS, lambda: champion_families(units, registry)),
            ("disk", _QUICK_SECONDS, lambda: _disk_families(home)),
        ]
    )


class _Gathered(CollectorRegistry):
    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._found = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._found)


def _disk_families(home: Path) -> list[Metric]:
    there = next(each for each in (home, *home.parents) if each.exists())
    found = shutil.disk_usage(there)
    size = GaugeMetricFamily("secondlook_home_size_bytes", "Size of the home's file system.")
    free = GaugeMetricFamily("secondlook_home_free_bytes", "What is free of it.")
    size.add_metric([], found.total)
    free.add_metric([], found.free)
    return [size, free]

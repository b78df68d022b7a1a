"""The queue, jobs and the champion in Prometheus' terms. No label names a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from loop.cases import CaseState
from loop.events import now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from loop.promotions import Promotion, PromotionState
from store.figures import QueueFigures
from store.model_registry import ModelRegistry
from ui.operations import Job, JobKind, JobState


def unix(at: str) -> float:
    """Seconds since 1970 of a time in RFC 3339."""
    return datetime.fromisoformat(at).timestamp()


def gauge(name: str, text: str, value: float | None = None) -> GaugeMetricFamily:
    """One without labels; without a ``value``, it has no sample."""
    family = GaugeMetricFamily(f"secondlook_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


def queue_families(read: Callable[[str], QueueFigures]) -> Callable[[], list[Metric]]:
    """``read`` is told the time (RFC 3339). What is settled is counted from the first reading on:
    erased cases make the number of settled ones smaller, and a counter only grows."""
    settled = _Growth()

    def families() -> list[Metric]:
        at = now()
        figures = read(at)
        cases = GaugeMetricFamily(
            "secondlook_cases",
            "Cases by state: waiting for a first or second review, reopened, settled.",
            labels=["state"],
        )
        oldest = GaugeMetricFamily(
            "secondlook_oldest_case_seconds",
            "How long ago the oldest case that waits came; 0 if none waits.",
            labels=["state"],
        )
        for state in CaseState:
            cases.add_metric([state.value], figures.cases[state])
            if state is not CaseState.SETTLED:
                came = figures.oldest.get(state)
                oldest.add_metric([state.value], max(0.0, unix(at) - unix(came)) if came else 0.0)
        total = CounterMetricFamily(
            "secondlook_cases_settled", "Cases settled since the app began."
        )
        total.add_metric([], settled.add(figures.cases[CaseState.SETTLED]))
        return [
            cases,
            oldest,
            total,
            gauge("leases", "Cases that somebody holds.", figures.leases),
            gauge("reviewers_active", "People who hold at least one case.", figures.holders),
        ]

    return families


def job_families(
    jobs: Iterable[Job], last_output: Callable[[str], float], at: float
) -> list[Metric]:
    """``at`` is the time, in seconds since 1970."""
    known = list(jobs)
    counts = Counter((job.kind, job.state) for job in known)
    family = GaugeMetricFamily(
        "secondlook_jobs",
        "The latest jobs that the app started, by kind and state.",
        labels=["kind", "state"],
    )
    for kind in JobKind:
        for state in JobState:
            family.add_metric([kind.value, state.value], counts[kind, state])
    running = GaugeMetricFamily(
        "secondlook_job_seconds", "How long a job has been running.", labels=["kind"]
    )
    silent = GaugeMetricFamily(
        "secondlook_job_silent_seconds",
        "How long ago a job that runs last printed something.",
        labels=["kind"],
    )
    # On a cluster elsewhere several run at once: of each kind the longest tells, since a sample
    # must be there once.
    for kind in JobKind:
        active = [job for job in known if job.kind is kind and job.state.active]
        if active:
            began = min(unix(job.started_at) for job in active)
            heard = min(last_output(job.id) for job in active)
            running.add_metric([kind.value], max(0.0, at - began))
            silent.add_metric([kind.value], max(0.0, at - heard))
    return [family, running, silent]


def champion_families(units: UnitsOfWork, registry: ModelRegistry) -> list[Metric]:
    with units() as uow:
        promotions = uow.promotions.list()
    waiting = {
        state: sum(1 for each in promotions if each.state is state)
        for state in (PromotionState.PROPOSED, PromotionState.APPROVED)
    }
    candidates = GaugeMetricFamily(
        "secondlook_candidates",
        "Candidates that wait: proposed (for a person's decision), approved (to be promoted).",
        labels=["state"],
    )
    for state, count in waiting.items():
        candidates.add_metric([state.value], count)
    info = GaugeMetricFamily(
        "secondlook_champion_info", "1 for the champion.", labels=["name", "version"]
    )
    champion = registry.find_alias(CHAMPION)
    if champion is None:
        return [candidates, info]
    info.add_metric([champion.name, champion.version], 1)
    return [
        candidates,
        info,
        gauge(
            "champion_map50_95",
            "The champion's mAP50-95 on the gold set, as last measured for a promotion.",
            _score(promotions, champion),
        ),
        gauge(
            "champion_since_timestamp_seconds",
            "When the champion was promoted, or made if it never was.",
            unix(_since(promotions, champion) or registry.created_at(champion)),
        ),
    ]


def _score(promotions: Iterable[Promotion], champion: ModelRef) -> float | None:
    """Of the newest promotion in which it was measured, on either side."""
    found = None
    for each in promotions:
        for score in (each.candidate_score, each.champion_score):
            if score is not None and score.model == champion:
                found = score.map50_95
    return found


def _since(promotions: Iterable[Promotion], champion: ModelRef) -> str:
    steps = (
        step["at"]
        for each in promotions
        if each.candidate == champion
        for step in each.history
        if step["state"] == PromotionState.PROMOTED
    )
    return max(steps, default="")


class _Growth:
    """Counts how much a number grew, whatever it lost in between."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._total = 0

    def add(self, number: int) -> int:
        if self._last is not None:
            self._total += max(0, number - self._last)
        self._last = number
        return self._total

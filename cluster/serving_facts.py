"""What the service makes of this machine's cores, for ``secondlook doctor``."""

from __future__ import annotations

import os
from pathlib import Path

from detector.cores import cpu_quota, usable_cores
from detector.plan import Plan, describe
from loop.errors import LoopError
from loop.promoting import CHAMPION
from serve.loading import cores_of_a_replica, expected_plan
from store.model_registry import open_model_registry
from store.settings import Settings


def serving_facts(settings: Settings) -> list[tuple[str, str]]:
    """What is looked at, and what was found. Starts nothing, and raises nothing."""
    facts = [("Cores", _cores()), ("Replicas", _replicas(settings))]
    embedded = Path(settings.tracking.removeprefix("sqlite:///"))
    if settings.tracking.startswith("sqlite") and not embedded.exists():
        return facts
    try:
        registry = open_model_registry(settings)
        champion = registry.find_alias(CHAMPION)
        if champion is None:
            return facts
        plan = expected_plan(settings, registry, champion)
    except (LoopError, OSError) as error:
        return [*facts, ("Champion's plan", f"not known: {error}")]
    return [*facts, ("Champion's plan", describe(plan)), ("Batch size", _batch(plan))]


def _cores() -> str:
    usable, there, quota = usable_cores(), os.cpu_count() or 1, cpu_quota()
    limit = f", control groups allow {quota:g}" if quota < there else ""
    return f"{usable} usable of {there}{limit}"


def _replicas(settings: Settings) -> str:
    count, most, cores = settings.replicas, settings.max_replicas, cores_of_a_replica(settings)
    many = f"{count} to {most}" if most > count else f"{count}"
    return f"{many} x {cores} {'core' if cores == 1 else 'cores'}"


def _batch(plan: Plan) -> str:
    if plan.backend.startswith("openvino"):
        return f"1, and {plan.parallel} images at once: each is inferred on its own"
    return f"up to {plan.parallel}: images of one shape that wait are stacked"

"""From a model version to an engine: its files checked, exported where that is faster, measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog

from detector.cores import usable_cores
from detector.engine import Engine, fastest_first, open_engine
from detector.export_cache import exports_by_child, kept_exports, worth_making
from detector.jobs import OnBatch, OnStage, ignore_batch, ignore_stage
from detector.loading import FILES, WEIGHTS, choose, served_backend
from detector.plan import Plan, candidates, kept_plan
from loop.errors import LoopError
from loop.predictions import ModelRef
from store.model_folder import folder_digest
from store.model_registry import ModelRegistry
from store.settings import Settings

_log = structlog.get_logger(__name__)

# Well below the 120 s that a release waits for a replica: what takes longer runs on torch.
_EXPORT_SECONDS = 75.0


def load_engine(
    settings: Settings,
    registry: ModelRegistry,
    model: ModelRef,
    *,
    measures: bool,
    on_stage: OnStage = ignore_stage,
    on_batch: OnBatch = ignore_batch,
) -> Engine:
    """Open what ``model`` runs fastest on here.

    With ``measures`` it is measured how it uses the cores best, unless that is known: seconds in
    which the cores should be free. So this is for a replica that serves nothing yet. One that swaps
    takes the likeliest plan, and the next that starts with this model measures it: doing so under
    load would slow down those who wait for the model before, and tell less. Raises what
    `ModelRegistry.fetch_verified` and `open_engine` raise.
    """
    # What is opened is what was checked: a copy that nothing else writes to.
    with tempfile.TemporaryDirectory(prefix="second-look-model-") as own:
        files = registry.fetch_verified(model, FILES, Path(own))
        return open_engine(
            files | made_exports(settings, files),
            min_confidence=settings.min_confidence,
            nms_iou=settings.nms_iou,
            backend=served_backend(files),
            cores=cores_of_a_replica(settings),
            plans=settings.plans,
            measures=measures,
            on_stage=on_stage,
            on_batch=on_batch,
        )


def made_exports(settings: Settings, files: Mapping[str, Path]) -> dict[str, Path]:
    """Exports that run faster here than ``files``, which has none of them: from the cache, or made
    now. None where that fails: the model is served as it came, and the log says why."""
    wanted = worth_making(files)
    if not wanted:
        return {}
    weights = files[WEIGHTS]
    try:
        found = exports_by_child(
            weights,
            wanted,
            settings.export_cache,
            config_dir=settings.home / "ultralytics",
            seconds=_EXPORT_SECONDS,
        )
    except LoopError as error:
        _log.warning("export.failed", error=error.message, formats=wanted)
        return {}
    for each, reason in found.refused.items():
        _log.warning("export.refused", format=each, reason=reason)
    return dict(found.folders)


def expected_plan(settings: Settings, registry: ModelRegistry, model: ModelRef) -> Plan:
    """What `load_engine` would run ``model`` with on this machine, as far as that is known."""
    digests = {**registry.exports_of(model), WEIGHTS: model.digest}
    wanted = worth_making(digests)
    made = kept_exports(model.digest, wanted, settings.export_cache)
    digests |= {name: folder_digest(folder) for name, folder in made.folders.items()}
    # What is to be made has no digest yet, and so no plan.
    digests |= {each.value: "" for each in wanted if each.value not in {*digests, *made.refused}}
    chosen = choose(digests, served_backend(digests), fastest_first())
    cores = cores_of_a_replica(settings)
    kept = kept_plan(settings.plans, digests[chosen], chosen, cores)
    return kept or candidates(chosen, cores)[0]


def cores_of_a_replica(settings: Settings) -> int:
    """Those that it reserves, or its share of this machine's."""
    most = max(settings.replicas, settings.max_replicas)
    return int(settings.serve_cpus) or max(usable_cores() // most, 1)

"""From a registered version to an engine that runs it, checked on the way."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from detector.cores import usable_cores
from detector.engine import Engine, open_engine
from detector.formats import ExportFormat
from detector.loading import WEIGHTS
from loop.predictions import ModelRef
from store.model_registry import open_model_registry
from store.settings import Settings

_FILES = (*(each.value for each in ExportFormat), WEIGHTS)


def open_registered(settings: Settings, model: ModelRef) -> Engine:
    """Raises what files, signatures and libraries can: `LoopError` where we know what is wrong."""
    # What is opened is what was checked: a copy that nothing else writes to.
    with TemporaryDirectory(prefix="second-look-model-") as own:
        files = open_model_registry(settings).fetch_verified(model, _FILES, Path(own))
        return open_engine(
            files,
            min_confidence=settings.min_confidence,
            nms_iou=settings.nms_iou,
            cores=_cores(settings),
        )


def _cores(settings: Settings) -> int:
    """A replica's: those that it reserves, or its share of this machine's."""
    most = max(settings.replicas, settings.max_replicas)
    return int(settings.serve_cpus) or max(usable_cores() // most, 1)

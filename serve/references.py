"""Gets what a model is compared with, while it serves already."""

from __future__ import annotations

import threading

import structlog

from loop.errors import LoopError
from loop.predictions import ModelRef
from serve.metrics import Metrics
from store.drift_references import read_reference
from store.model_registry import open_model_registry
from store.settings import Settings
from store.tracking import open_tracking

_log = structlog.get_logger(__name__)


def watch_drift(settings: Settings, model: ModelRef, metrics: Metrics) -> threading.Thread | None:
    """Look for the reference of ``model`` in a thread, and compare with it from then on.

    In a thread since no model may wait for MLflow, which it may not need to be loaded. None if the
    settings want no comparison.
    """
    if not settings.drift_images:
        return None
    thread = threading.Thread(
        target=_watch, args=(settings, model, metrics), name="drift-reference", daemon=True
    )
    thread.start()
    return thread


def _watch(settings: Settings, model: ModelRef, metrics: Metrics) -> None:
    try:
        registry = open_model_registry(settings)
        tracking = open_tracking(settings)
        reference = read_reference(tracking, registry, model, settings.min_confidence)
    except (LoopError, OSError) as error:
        _log.info("drift.no_reference", model=model.as_dict(), reason=str(error))
        return
    metrics.expect(reference, settings.drift_images)

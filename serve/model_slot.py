"""The place where a replica keeps its model, and how another one gets there while it serves.

A new model is loaded and tried in a background thread; requests go to the old one until it is
ready. A model that cannot be loaded changes nothing but the error that is reported.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from detector.base import Detector, Pixels, smoke_test
from loop.errors import LoopError, NoModel
from loop.predictions import ModelRef
from serve.service import Detected, ServiceStatus

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: ModelRef
    detector: Detector
    # One thread for one model: torch keeps a pool of threads for each thread that calls it.
    thread: ThreadPoolExecutor


class ModelSlot:
    """``load`` turns a model version into a detector; it may take long and may raise anything."""

    def __init__(self, load: Callable[[ModelRef], Detector]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._current: _Loaded | None = None
        self._wanted: ModelRef | None = None
        self._loading = False
        self._error: str | None = None
        self._asked = 0  # how often a model was asked for; only the latest may take the place

    def ask_for(self, model: ModelRef | None) -> None:
        """Begin to swap to ``model`` (None: to no model) and return at once. Never raises."""
        with self._lock:
            self._asked += 1
            self._wanted, self._error = model, None
            if model is None:
                self._current = None
            self._loading = model is not None and not self._serves(model)
            if self._loading and model is not None:
                self._loader.submit(self._replace, model, self._asked)

    def status(self) -> ServiceStatus:
        with self._lock:
            current, wanted = self._current, self._wanted
            loading, error = self._loading, self._error
        if current is None:
            return ServiceStatus(wanted=wanted, loading=loading, error=error)
        return ServiceStatus(
            model=current.model,
            classes=current.detector.classes.names,
            image_size=current.detector.image_size,
            wanted=wanted,
            loading=loading,
            error=error,
        )

    async def detect(self, images: Sequence[Pixels]) -> list[Detected]:
        """All of ``images`` by the model of this moment. Raises `NoModel`."""
        loaded = self._current
        if loaded is None:
            raise no_model(self.status())
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(loaded.thread, loaded.detector.detect, images)
        return [Detected(loaded.model, loaded.detector.classes, answer) for answer in answers]

    def _serves(self, model: ModelRef) -> bool:
        return self._current is not None and self._current.model == model

    def _replace(self, model: ModelRef, asked: int) -> None:
        if asked != self._asked:  # something else was asked for while this waited
            return
        thread = ThreadPoolExecutor(1, thread_name_prefix="detect")
        try:
            # In the thread that will detect later, so that it is warm.
            detector = thread.submit(self._load_and_try, model).result()
        except Exception as error:
            # Anything that weights or a store can raise; the model before serves on.
            _log.exception("model.load_failed", model=model.as_dict())
            self._finish(asked, None, _explain(error))
        else:
            self._finish(asked, _Loaded(model, detector, thread), None)

    def _load_and_try(self, model: ModelRef) -> Detector:
        detector = self._load(model)
        smoke_test(detector)
        return detector

    def _finish(self, asked: int, loaded: _Loaded | None, error: str | None) -> None:
        with self._lock:
            if asked != self._asked:
                return
            self._loading, self._error = False, error
            if loaded is not None:
                self._current = loaded
                _log.info("model.in_service", model=loaded.model.as_dict())


def no_model(status: ServiceStatus) -> NoModel:
    """The error for a request that finds no model, with the most helpful reason."""
    if status.loading:
        return NoModel("The model is still being loaded.", hint="Try again in a few seconds.")
    if status.error:
        return NoModel(
            f"The model could not be loaded: {status.error}",
            hint="Promote another version: secondlook models list shows them.",
        )
    return NoModel(
        "No model is in service yet.",
        hint="Train one and promote it: secondlook models promote VERSION.",
    )


def _explain(error: Exception) -> str:
    if isinstance(error, LoopError):
        return f"{error.message} {error.hint}".strip()
    return f"{type(error).__name__}: {error}"

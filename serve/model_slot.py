"""The place where a replica keeps its model, and how another one gets there while it serves.

A new model is loaded and tried in a background thread; requests go to the old one until it is
ready, and it is closed when the last of them has its answer. What comes after waits for that: two
models at work at once would each get half of the cores, and the last images of the old one would
take twice as long. A model that cannot be loaded changes nothing but the error that is reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import structlog

from detector.base import smoke_test
from detector.engine import Engine
from detector.jobs import Answer, Source
from loop.classes import ClassList
from loop.errors import LoopError, NoModel
from loop.predictions import ModelRef
from serve.service import ServiceStatus

_log = structlog.get_logger(__name__)

# A model that does not answer its first image in this time is not one to serve with.
_SMOKE_SECONDS = 120.0
# As long as nothing is wrong, the images before a swap are answered long before this.
_LINE_SECONDS = 2.0


class SwapOutcome(StrEnum):
    """What became of a model that was asked for; superseded: another one was in the meantime."""

    SERVED = "served"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclass(slots=True, eq=False)
class _Loaded:
    model: ModelRef
    engine: Engine
    # When each image that has no answer yet was handed over, in seconds of the monotonic clock.
    pending: dict[Future[Answer], float] = field(default_factory=dict)
    retired: bool = False
    # Retired, and all of them answered.
    drained: threading.Event = field(default_factory=threading.Event)
    # Images that stand behind those of the model before; None once it is this one's turn.
    line: list[tuple[Source, Future[Answer]]] | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """An image on its way through one model version."""

    model: ModelRef
    classes: ClassList
    answer: Future[Answer]


class ModelSlot:
    """``load`` turns a model version into an engine; it may take long and may raise anything.

    ``on_swap`` may be set; it is called in the thread that loads, and must not raise.
    """

    def __init__(self, load: Callable[[ModelRef], Engine]) -> None:
        self.on_swap: Callable[[SwapOutcome], None] = lambda _outcome: None
        self._load = load
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._current: _Loaded | None = None
        self._retired: set[_Loaded] = set()
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
                self._put(None)
            self._loading = model is not None and not self._serves(model)
            if self._loading and model is not None:
                self._loader.submit(self._replace, model, self._asked)

    def settle(self, timeout: float) -> None:
        """Wait, at most ``timeout`` seconds, until nothing is being loaded."""
        self._loader.submit(lambda: None).exception(timeout)

    def status(self) -> ServiceStatus:
        with self._lock:
            current, wanted = self._current, self._wanted
            loading, error = self._loading, self._error
        if current is None:
            return ServiceStatus(wanted=wanted, loading=loading, error=error)
        return ServiceStatus(
            model=current.model,
            classes=current.engine.classes.names,
            image_size=current.engine.image_size,
            wanted=wanted,
            loading=loading,
            error=error,
        )

    @property
    def has_model(self) -> bool:
        return self._current is not None

    @property
    def parallel(self) -> int:
        """How many images the model of this moment works on at once; 1 without a model."""
        current = self._current
        return current.engine.parallel if current else 1

    @property
    def pending(self) -> int:
        """Images that models still have to answer."""
        with self._lock:
            return sum(len(loaded.pending) for loaded in self._all())

    def longest_wait(self) -> float:
        """Seconds since the oldest image without an answer was handed over; 0 without one."""
        with self._lock:
            begun = [at for loaded in self._all() for at in loaded.pending.values()]
        return time.monotonic() - min(begun) if begun else 0.0

    def submit(self, source: Source) -> Submitted:
        """Hand an image to the model of this moment. Raises `NoModel`."""
        with self._lock:
            loaded = self._current
            if loaded is not None:
                answer = _hand_over(loaded, source)
                loaded.pending[answer] = time.monotonic()
        if loaded is None:
            raise no_model(self.status())
        # Outside the lock: an answer that is there already calls back at once.
        answer.add_done_callback(lambda done: self._answered(loaded, done))
        return Submitted(loaded.model, loaded.engine.classes, answer)

    def _answered(self, loaded: _Loaded, answer: Future[Answer]) -> None:
        with self._lock:
            loaded.pending.pop(answer, None)
            over = loaded.retired and not loaded.pending
            if over:
                self._retired.discard(loaded)
                loaded.drained.set()
        if over:  # not here: this may be the engine's own thread
            self._loader.submit(_close, loaded.engine)

    def _all(self) -> list[_Loaded]:
        return [*self._retired, *([self._current] if self._current else [])]

    def _serves(self, model: ModelRef) -> bool:
        return self._current is not None and self._current.model == model

    def _put(self, loaded: _Loaded | None) -> None:
        old, self._current = self._current, loaded
        if old is None:
            return
        old.retired = True
        if old.pending:
            self._retired.add(old)
            if loaded is not None:
                loaded.line = []
                self._loader.submit(self._take_turn, loaded, old)
        else:
            self._loader.submit(_close, old.engine)

    def _take_turn(self, loaded: _Loaded, after: _Loaded) -> None:
        after.drained.wait(_LINE_SECONDS)
        with self._lock:
            line, loaded.line = loaded.line, None
        for source, answer in line or ():
            loaded.engine.submit(source).add_done_callback(partial(_pass_on, answer))

    def _replace(self, model: ModelRef, asked: int) -> None:
        if asked != self._asked:  # something else was asked for while this waited
            self.on_swap(SwapOutcome.SUPERSEDED)
            return
        try:
            engine = self._load(model)
            try:
                _smoke_test(engine)
            except Exception:
                _close(engine)
                raise
        except Exception as error:
            # Anything that weights or a store can raise; the model before serves on.
            _log.exception("model.load_failed", model=model.as_dict())
            self._finish(asked, None, _explain(error))
        else:
            self._finish(asked, _Loaded(model, engine), None)

    def _finish(self, asked: int, loaded: _Loaded | None, error: str | None) -> None:
        with self._lock:
            late = asked != self._asked
            if not late:
                self._loading, self._error = False, error
                if loaded is not None:
                    self._put(loaded)
        if loaded is None:
            self.on_swap(SwapOutcome.FAILED)
            return
        self.on_swap(SwapOutcome.SUPERSEDED if late else SwapOutcome.SERVED)
        if late:
            _close(loaded.engine)
        else:
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


def _smoke_test(engine: Engine) -> None:
    smoke_test(lambda images: [engine.submit(image).result(_SMOKE_SECONDS) for image in images])


def _hand_over(loaded: _Loaded, source: Source) -> Future[Answer]:
    if loaded.line is None:
        return loaded.engine.submit(source)
    answer: Future[Answer] = Future()
    loaded.line.append((source, answer))
    return answer


def _pass_on(answer: Future[Answer], done: Future[Answer]) -> None:
    error = done.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def _close(engine: Engine) -> None:
    try:
        engine.close()
    except Exception:  # nothing waits for it any more
        _log.exception("model.close_failed")


def _explain(error: Exception) -> str:
    if isinstance(error, LoopError):
        return f"{error.message} {error.hint}".strip()
    return f"{type(error).__name__}: {error}"

"""An OpenVINO model compiled for the rectangles that are asked for most, and for any other.

Every rectangle runs on the model with open shapes until it has been asked for often enough; then
a model for just that one is compiled in the background. So a rare shape costs nobody anything
but its own image a few percent, and a client that sends many shapes fills no memory.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from detector.openvino_env import import_openvino

_log = structlog.get_logger(__name__)
_MOST_COMPILED = 4
# A shape is compiled for when it was so many of the last images.
_RECENT, _OFTEN = 256, 16
# The newcomer must be that much more frequent than what it drives out, or two would take turns.
_CLEARLY_MORE = 2

Shape = tuple[int, int]


class Request:
    """One inference at a time. ``pixels`` is (height, width, 3), RGB: fill it, then `run`."""

    def __init__(self, compiled: Any, shape: Shape | None) -> None:
        self._request = compiled.create_infer_request()
        self._open = shape is None
        if shape is not None:
            self.pixels: NDArray[np.uint8] = self._request.get_input_tensor().data[0]

    def fit(self, shape: Shape) -> None:
        if self._open:
            batch = np.empty((1, *shape, 3), dtype=np.uint8)
            self._request.set_input_tensor(import_openvino().Tensor(batch, shared_memory=True))
            self.pixels = batch[0]

    def run(self) -> NDArray[np.float32]:
        """``(4 + classes, anchors)``, valid until the next `run`."""
        self._request.start_async()
        self._request.wait()
        output: NDArray[np.float32] = self._request.get_output_tensor().data[0]
        return output


class _Compiled:
    def __init__(self, compiled: Any, shape: Shape | None) -> None:
        self._compiled = compiled
        self._shape = shape
        self._idle: deque[Request] = deque()

    @contextmanager
    def request(self, shape: Shape) -> Iterator[Request]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = Request(self._compiled, self._shape)
        request.fit(shape)
        yield request
        self._idle.append(request)  # not after an error: its state is then unknown


class CompiledShapes:
    """``model`` is an `openvino.Model` of floats in NCHW; ``options`` are properties for the CPU.

    Raises what OpenVINO raises.
    """

    def __init__(self, model: Any, options: dict[str, Any]) -> None:
        self._model = model
        self._options = options
        self._core = import_openvino().Core()
        self._lock = threading.Lock()
        self._compiled: dict[Shape, _Compiled] = {}
        self._recent: deque[Shape] = deque(maxlen=_RECENT)
        self._counts: Counter[Shape] = Counter()
        self._tried: set[Shape] = set()  # being compiled, or it cannot be
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile-shape")
        self._any = _Compiled(self._compile(None), None)

    @contextmanager
    def request(self, shape: Shape) -> Iterator[Request]:
        """A request for an input of that height and width, for this thread alone."""
        with self._chosen(shape).request(shape) as request:
            yield request

    def prepare(self, shape: Shape) -> None:
        """Compile for ``shape`` now. Raises what OpenVINO raises."""
        compiled = _Compiled(self._compile(shape), shape)
        with self._lock:
            self._keep(shape, compiled)

    def shapes(self) -> set[Shape]:
        """Those that are compiled for."""
        with self._lock:
            return set(self._compiled)

    def close(self) -> None:
        self._compiler.shutdown(cancel_futures=True)

    def _chosen(self, shape: Shape) -> _Compiled:
        with self._lock:
            if len(self._recent) == _RECENT:
                self._counts[self._recent[0]] -= 1
            self._recent.append(shape)
            self._counts[shape] += 1
            chosen = self._compiled.get(shape)
            if chosen is None and self._deserves(shape):
                self._tried.add(shape)
                self._compiler.submit(self._prepare_quietly, shape)
            return chosen or self._any

    def _deserves(self, shape: Shape) -> bool:
        count = self._counts[shape]
        if shape in self._tried or count < _OFTEN:
            return False
        if len(self._compiled) < _MOST_COMPILED:
            return True
        return count >= _CLEARLY_MORE * min(self._counts[other] for other in self._compiled)

    def _prepare_quietly(self, shape: Shape) -> None:
        try:
            self.prepare(shape)
        except Exception:  # the model with open shapes serves on
            _log.exception("openvino.shape_not_compiled", shape=shape)
        else:
            with self._lock:
                self._tried.discard(shape)

    def _keep(self, shape: Shape, compiled: _Compiled) -> None:
        if shape not in self._compiled and len(self._compiled) >= _MOST_COMPILED:
            rarest = min(self._compiled, key=lambda other: self._counts[other])
            del self._compiled[rarest]
        self._compiled[shape] = compiled

    def _compile(self, shape: Shape | None) -> Any:
        openvino = import_openvino()
        from openvino.preprocess import PrePostProcessor  # type: ignore[import-untyped]

        # Bytes go in as they are in memory: a quarter of the bytes, and no pass over them outside.
        steps = PrePostProcessor(self._model.clone())
        tensor = steps.input().tensor()
        tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        tensor.set_shape(openvino.PartialShape([1, *(shape or (-1, -1)), 3]))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
        return self._core.compile_model(steps.build(), "CPU", self._options)

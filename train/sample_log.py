"""Logs what the machines of folds were doing (`train.fold_samples`) to their MLflow runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from loop.errors import LoopError
from store.system_metrics import PREFIX, Sample, log_samples
from store.tracking import Tracking

_WRITE_S = 60.0
# A metric that every sample has.
_ALWAYS = f"{PREFIX}cpu_utilization_percentage"


class SampleLog:
    """Logs the samples of a file to a run, each once: the number of its line is its step."""

    def __init__(self, tracking: Tracking, run_id: str, path: Path) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._path = path
        self._next: int | None = None
        self._written = float("-inf")
        self.latest: Mapping[str, float] = {}

    def follow(self, *, at_once: bool = False) -> None:
        """Log what is new, now and then. What MLflow does not take is tried again next time."""
        if not at_once and self.latest and time.monotonic() - self._written < _WRITE_S:
            return
        samples = self._read()
        if not samples:
            return
        self._written = time.monotonic()
        self.latest = {f"{PREFIX}{name}": value for name, value in samples[-1].values.items()}
        with suppress(LoopError):
            if self._next is None:
                steps = self._tracking.metric_steps(self._run_id, _ALWAYS)
                self._next = steps[-1] + 1 if steps else 0
            if len(samples) > self._next:
                log_samples(self._tracking, self._run_id, samples[self._next :], self._next)
                self._next = len(samples)

    def _read(self) -> list[Sample]:
        samples: list[Sample] = []
        with suppress(OSError, ValueError):  # the last line is not complete yet
            text = self._path.read_text(encoding="utf-8")
            samples.extend(Sample(**json.loads(line)) for line in text.splitlines())
        return samples

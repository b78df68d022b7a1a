"""What a run's machine is doing, as MLflow's own metrics name it: ``system/…``.

MLflow's own monitor asks for the run at every sample and does not wait for SQLite, which k folds on
one database cannot have. Here one measures and another one logs: many samples go in one call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from store.tracking import Tracking

PREFIX = "system/"
_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Sample:
    """``at`` is in milliseconds since 1970; ``values`` go by names without `PREFIX`."""

    at: int
    values: Mapping[str, float]


class Sampler:
    """Measures this machine, its GPUs that this process may use, and this process."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._gpus = _visible_gpus()
        network = psutil.net_io_counters()
        self._network_before = (network.bytes_recv, network.bytes_sent) if network else None
        psutil.cpu_percent()  # a share since the call before: this is the first
        self._process.cpu_percent()

    def sample(self) -> Sample:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MEGABYTE,
            "disk_available_megabytes": disk.free / _MEGABYTE,
            # Not MLflow's: several folds share a machine.
            "process_cpu_utilization_percentage": self._process.cpu_percent(),
            "process_memory_usage_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        network = psutil.net_io_counters()
        if network and self._network_before:
            received, sent = self._network_before
            values["network_receive_megabytes"] = (network.bytes_recv - received) / _MEGABYTE
            values["network_transmit_megabytes"] = (network.bytes_sent - sent) / _MEGABYTE
        for number, handle in self._gpus:
            values |= _gpu_values(number, handle)
        return Sample(int(time.time() * 1000), {k: round(v, 1) for k, v in values.items()})


def log_samples(
    tracking: Tracking, run_id: str, samples: Sequence[Sample], first_step: int
) -> None:
    """In as few calls as MLflow takes them, a step each."""
    from mlflow.entities import Metric
    from mlflow.utils.validation import MAX_METRICS_PER_BATCH

    metrics = [
        Metric(PREFIX + name, value, sample.at, step)
        for step, sample in enumerate(samples, first_step)
        for name, value in sample.values.items()
    ]
    for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        batch = metrics[start : start + MAX_METRICS_PER_BATCH]
        tracking.call(lambda batch=batch: tracking.client.log_batch(run_id, metrics=batch))  # type: ignore[misc]


def _visible_gpus() -> list[tuple[int, Any]]:
    """Number and handle of each NVIDIA GPU that this process may use."""
    try:
        import pynvml  # comes with Ultralytics
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        numbers = _visible(range(count), os.environ.get("CUDA_VISIBLE_DEVICES"))
        return [(number, pynvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers]
    except pynvml.NVMLError:  # no driver, no GPU
        return []


def _visible(numbers: Sequence[int], told: str | None) -> list[int]:
    """Those of ``numbers`` that ``CUDA_VISIBLE_DEVICES`` names; all where it names none by number,
    but by its id or as a slice."""
    if told is None:
        return list(numbers)
    names = [name.strip() for name in told.split(",") if name.strip()]
    if not all(name.isdigit() for name in names):
        return list(numbers)
    return [number for number in numbers if str(number) in names]


def _gpu_values(number: int, handle: Any) -> dict[str, float]:
    import pynvml

    values: dict[str, float] = {}
    with suppress(pynvml.NVMLError):  # not every card tells everything
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        values[f"gpu_{number}_memory_usage_percentage"] = memory.used / memory.total * 100
        values[f"gpu_{number}_memory_usage_megabytes"] = memory.used / _MEGABYTE
    with suppress(pynvml.NVMLError):
        used = pynvml.nvmlDeviceGetUtilizationRates(handle)
        values[f"gpu_{number}_utilization_percentage"] = float(used.gpu)
    with suppress(pynvml.NVMLError):
        watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        values[f"gpu_{number}_power_usage_watts"] = watts
        limit = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        values[f"gpu_{number}_power_usage_percentage"] = watts / limit * 100
    return values

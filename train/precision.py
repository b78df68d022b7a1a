"""Which numbers and which memory layout a training computes with, by what the hardware gains.

Both are measured in docs/decisions.md. What is decided here holds for the process that asks: a
fold's worker may run on other hardware than the driver.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from train.params import Precision

_log = logging.getLogger(__name__)


def computes_in_bf16(precision: Precision, device: str) -> bool:
    """Whether a training on ``device`` (``cpu`` or a CUDA index) multiplies in bfloat16.

    It does what ``bf16`` asks for even where that is slower than fp32, and warns.
    """
    warning = precision_warning(precision, device)
    if warning:
        _log.warning(warning)
    return precision is Precision.BF16 or (precision is Precision.AUTO and has_bf16(device))


def precision_warning(precision: Precision, device: str) -> str:
    """What whoever asked for ``precision`` should know; empty where there is nothing."""
    if precision is not Precision.BF16 or has_bf16(device):
        return ""
    what = "CPU" if device == "cpu" else "GPU"
    return f"PRECISION is bf16, which this {what} only emulates: training is slower than with fp32."


def has_bf16(device: str) -> bool:
    """Whether the hardware itself multiplies bfloat16."""
    if device != "cpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    if found["architecture"] == "x86_64":
        # oneDNN also takes bf16 on AVX-512 without these, converting back and forth.
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def gains_from_channels_last(device: str) -> bool:
    """Whether convolutions are faster with the channels of a pixel side by side in memory.

    For CPUs; on CUDA Ultralytics decides by itself.
    """
    return device == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


class FullPrecisionLoss:
    """A loss that computes in fp32 what an `autocast` model hands it.

    On CUDA autocast itself does this for the functions of a loss; on the CPU it leaves most of
    them in bf16, whose 8 bits are too few for the sums and for box edges in pixels.
    """

    def __init__(self, loss: Any, device_type: str) -> None:
        self._loss = loss
        self._device_type = device_type

    def __call__(self, preds: Any, batch: dict[str, Any]) -> Any:
        with torch.autocast(self._device_type, enabled=False):
            return self._loss(_as_float(preds), batch)

    def __getattr__(self, name: str) -> Any:  # Ultralytics asks whether it has an `update`
        return getattr(self._loss, name)


def _as_float(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {name: _as_float(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_float(item) for item in value)
    return value

"""How much memory a call takes, decoders' own included: Linux only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
# Resets the high-water mark: proc(5), /proc/pid/clear_refs.
_CLEAR = Path("/proc/self/clear_refs")


def resident_mib() -> float:
    return _mib("VmRSS")


def peak_growth_mib(call: Callable[[], object]) -> float:
    """By how much the process grew, at most, while ``call`` ran."""
    before = resident_mib()
    _CLEAR.write_text("5")
    call()
    return _mib("VmHWM") - before


def _mib(field: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)

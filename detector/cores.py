"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Whole cores, at least one: the scheduler's mask, and the CPU quota of the control groups
    (v2 or v1) that the process is in, whichever is less."""
    return max(1, min(_allowed(), int(cpu_quota())))


def cpu_quota(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float:
    """In cores; infinite where there is none. A group may use no more than any above it."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return float(_UNLIMITED)
    quotas = [float(_UNLIMITED)]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, read = cgroups, _quota_v2
        elif "cpu" in controllers.split(","):
            root, read = cgroups / "cpu", _quota_v1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        # In a container the path may be the host's: then only the root is there.
        folders = [root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        quotas += [quota for folder in folders if (quota := read(folder)) is not None]
    return min(quotas)


# More than any machine has; an infinite float is no int.
_UNLIMITED = 1 << 20


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota_v2(folder: Path) -> float | None:
    """``cpu.max``: microseconds in each period (or ``max``), and the period."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None

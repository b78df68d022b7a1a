"""What is running in a home: the note that ``up`` leaves, and how ``down`` ends it."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cluster.processes import descendants, end_all
from store.processes import end_processes, find_process, wait_for_end
from store.settings import Settings

# ``up`` drains requests and ends Ray; on a busy machine that takes a while.
_STOP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Running:
    """``started`` is the process's start time in seconds since the epoch, by which a process id
    that was reused is told from ours; ``children`` are process ids with theirs."""

    pid: int
    started: float
    api_url: str
    ui_url: str
    mlflow_url: str
    dashboard_url: str
    ray_address: str
    children: tuple[tuple[int, float], ...] = ()

    def alive(self) -> bool:
        return find_process(self.pid, self.started) is not None


def find_running(settings: Settings) -> Running | None:
    """What is up in this home, or was when its process was killed; None if nothing is."""
    try:
        raw = json.loads(_note(settings).read_text(encoding="utf-8"))
        children = tuple((int(pid), float(started)) for pid, started in raw.pop("children"))
        return Running(**raw, children=children)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def find_alive(settings: Settings) -> Running | None:
    """What is up in this home at this moment."""
    running = find_running(settings)
    return running if running is not None and running.alive() else None


def note_running(settings: Settings, ray_address: str, dashboard_url: str, mlflow_url: str) -> None:
    """Write down this process and every process below it, for ``down`` and ``status``."""
    here = psutil.Process()
    running = Running(
        pid=here.pid,
        started=here.create_time(),
        api_url=settings.api_url,
        ui_url=f"http://{settings.host}:{settings.ui_port}",
        mlflow_url=mlflow_url,
        dashboard_url=dashboard_url,
        ray_address=ray_address,
        children=tuple((child.pid, child.create_time()) for child in descendants(here.pid)),
    )
    note = _note(settings)
    note.parent.mkdir(parents=True, exist_ok=True)
    draft = note.with_suffix(".new")
    draft.write_text(json.dumps(asdict(running)), encoding="utf-8")
    draft.replace(note)


def forget_running(settings: Settings) -> None:
    _note(settings).unlink(missing_ok=True)


def end_running(settings: Settings) -> bool:
    """End what ``up`` started in this home, and wait for it. False if nothing was running."""
    running = find_running(settings)
    if running is None:
        return False
    process = find_process(running.pid, running.started)
    if process is not None:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.send_signal(signal.SIGTERM)
        if wait_for_end([process], _STOP_SECONDS):
            end_all([process.pid])
    left = [found for found in (find_process(*child) for child in running.children) if found]
    end_processes(left)
    forget_running(settings)
    return process is not None or bool(left)


def _note(settings: Settings) -> Path:
    return settings.run_dir / "up.json"

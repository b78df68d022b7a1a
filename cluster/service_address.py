"""Where the API and Ray's dashboard are that commands and the app talk to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.running import find_alive
from store.settings import Settings


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """URLs without a slash at the end. Where ``dashboard_url`` is empty, the API alone tells what
    serves."""

    api_url: str
    dashboard_url: str


def find_service(settings: Settings) -> ServiceAddress | None:
    """The service of this home; None where nothing is known to run.

    First what `up` runs on this machine. Else what the settings name (``SECONDLOOK_API_URL``,
    ``SECONDLOOK_DASHBOARD_URL``): a service that somebody else keeps up, as on Kubernetes. Else
    what `up` left on a cluster when it ended.
    """
    running = find_alive(settings)
    if running is not None:
        return ServiceAddress(running.api_url, running.dashboard_url)
    if settings.api_at:
        # The dashboard may be that of another cluster, for trainings.
        return ServiceAddress(settings.api_url, "")
    if settings.dashboard_at:
        return ServiceAddress(settings.api_url, settings.dashboard_url)
    return find_left(settings)


def note_left(settings: Settings, address: ServiceAddress) -> None:
    """Write down what serves on a cluster and stays there when `up` ends: a promotion must not
    pass it by."""
    note = _note(settings)
    note.parent.mkdir(parents=True, exist_ok=True)
    draft = note.with_suffix(".new")
    draft.write_text(json.dumps(asdict(address)), encoding="utf-8")
    draft.replace(note)


def find_left(settings: Settings) -> ServiceAddress | None:
    try:
        return ServiceAddress(**json.loads(_note(settings).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def forget_left(settings: Settings) -> None:
    _note(settings).unlink(missing_ok=True)


def _note(settings: Settings) -> Path:
    return settings.run_dir / "left.json"

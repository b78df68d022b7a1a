"""What ``secondlook status`` shows."""

from __future__ import annotations

from typing import Any

from cluster.addresses import without_password
from cluster.drift import told_drift
from cluster.running import find_alive
from cluster.service_address import find_service
from loop.cases import CaseState
from loop.errors import LoopError
from loop.promotions import last_release
from loop.stopping import standing_stop, told
from serve.release import what_serves
from store.audit_log import AuditLog, open_audit_log
from store.model_registry import open_model_registry
from store.own_key import api_headers
from store.settings import Settings
from store.unit_of_work import open_units_of_work


def read_status(settings: Settings) -> dict[str, Any]:
    """Counts and links by name; values are strings, numbers or None. ``running`` is whether `up`
    runs on this machine; the API may be up without it, on a cluster."""
    up = find_alive(settings)
    service = find_service(settings)
    headers = api_headers(settings)
    elsewhere = settings.tracking if settings.tracking.startswith("http") else ""
    mlflow = up.mlflow_url if up else elsewhere
    champion = open_model_registry(settings).find_alias("champion")
    with open_units_of_work(settings)() as uow:
        counts = uow.cases.counts()
        stop = standing_stop(uow)
        release = last_release(uow.promotions.list())
        found: dict[str, Any] = {
            "running": up is not None,
            "app": up.ui_url if up else settings.public_url.rstrip("/") or None,
            "api": service.api_url if service else None,
            "mlflow": without_password(mlflow) if mlflow else None,
            "champion": champion.version if champion else None,
            "drift": told_drift(settings, service.api_url) if service else None,
            "serving": what_serves(service.api_url, headers) if service else None,
            "stopped": told(stop) if stop else None,
            "last_release": release.line if release else None,
            "images": uow.images.count(),
            "gold_images": len(uow.images.gold()),
            "waiting_first": counts.get(CaseState.FIRST, 0),
            "waiting_second": counts.get(CaseState.SECOND, 0),
            "settled": counts.get(CaseState.SETTLED, 0),
            "snapshots": len(uow.snapshots.list()),
        }
    log = open_audit_log(settings)
    return {**found, "audit_events": log.head().size, "audit_copy": _told_copy(log)}


def _told_copy(log: AuditLog) -> str | None:
    """Of the log's copy in the bucket; None where there is none."""
    try:
        lacks = log.copy_lacks()
    except LoopError as error:
        return error.message
    if lacks is None:
        return None
    return f"{lacks} entries behind" if lacks else "up to date"

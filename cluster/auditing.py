"""What auditors look things up with, on the command line and in the app."""

from __future__ import annotations

from pathlib import Path

from loop.errors import NotFound
from loop.ports import UnitsOfWork
from loop.snapshots import Labels, Manifest
from store.audit_log import AuditLog, open_audit_log
from store.audit_tracing import AuditTracing
from store.settings import Settings
from store.snapshot_contents import SnapshotContents
from train.paths import StagePaths


def open_tracing(
    settings: Settings, units: UnitsOfWork, log: AuditLog | None = None
) -> AuditTracing:
    """Snapshots are looked for in the workspace of the settings, the home's own, and the folder
    that this is started in."""
    workspaces = [settings.workspace, settings.home / "workspace", Path.cwd()]
    folders = [
        workspace / StagePaths(labels).snapshot
        for workspace in workspaces
        if workspace is not None
        for labels in Labels
    ]

    def find_manifest(snapshot_sha256: str) -> Manifest | None:
        with units() as uow:
            try:
                return uow.snapshots.get(snapshot_sha256).manifest
            except NotFound:
                return None

    contents = SnapshotContents(folders, find_manifest)
    return AuditTracing(log or open_audit_log(settings), units, contents)

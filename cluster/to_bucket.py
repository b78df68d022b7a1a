"""What a training made, besides this machine's disk."""

from __future__ import annotations

from cluster.console import err, print_error
from loop.errors import LoopError
from store.settings import Settings
from store.workspace import Workspace
from store.workspace_remote import open_remote


def bring_to_bucket(settings: Settings, workspace: Workspace) -> None:
    """Where there is a bucket, nothing that a training made is on one disk only. That it cannot be
    reached does not undo the training: it is said, and nothing else."""
    try:
        remote = open_remote(settings, workspace)
        if remote is not None:
            remote.configure()
            remote.push()
    except LoopError as error:
        err.print("The training is committed here; the bucket does not have it yet.")
        print_error(error)

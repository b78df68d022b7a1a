"""Where a workspace's data and results are besides its own disk: in the bucket, by DVC."""

from __future__ import annotations

import io
import sys
from configparser import ConfigParser
from pathlib import Path

from loop.errors import Misconfigured, Unavailable
from store.private_files import write_private
from store.settings import Settings
from store.storage_url import BucketStorage, parse_storage_url
from store.workspace import Workspace, checked

# Beside a remote of the user's own, which stays the default one.
REMOTE = "second-look"
_SECTION = f"'remote \"{REMOTE}\"'"


class WorkspaceRemote:
    """The folder ``dvc`` of the bucket. Keys come from the environment, never from a file here."""

    def __init__(self, workspace: Workspace, storage: BucketStorage) -> None:
        self._workspace = workspace
        self._storage = storage

    def configure(self, cache: Path | None = None) -> None:
        """Tell DVC, in a file that git does not see; ``cache`` is where it keeps files instead of
        in the workspace."""
        path = self._workspace.folder / ".dvc" / "config.local"
        config = ConfigParser(interpolation=None)
        config.read(path, encoding="utf-8")
        config[_SECTION] = {"url": self._storage.below("dvc")}
        if self._storage.endpoint_url:
            config[_SECTION]["endpointurl"] = self._storage.endpoint_url
        if self._storage.region:
            config[_SECTION]["region"] = self._storage.region
        if cache is not None:
            config["cache"] = {"dir": str(cache)}
        text = io.StringIO()
        config.write(text)
        # In one step: there may be remotes and keys of the user's own in it.
        write_private(path, text.getvalue().encode())

    def push(self) -> None:
        """Bring there what the pipeline's last state names. Raises `Unavailable`."""
        self._dvc("push")

    def pull(self) -> None:
        """Get what dvc.lock names and is there, and check it out. Raises `Unavailable`."""
        self._dvc("pull", "--allow-missing", "--force")

    def _dvc(self, command: str, *options: str) -> None:
        words = [sys.executable, "-m", "dvc", command, "--quiet", "--remote", REMOTE, *options]
        try:
            checked(words, self._workspace.folder)
        except Misconfigured as error:
            lines = [line for line in error.hint.splitlines() if line.strip()]
            raise Unavailable(
                f"`dvc {command}` with {self._storage.below('dvc')} failed: "
                f"{lines[0] if lines else 'without a word'}",
                hint="Check SECONDLOOK_STORAGE_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
                f"then: dvc {command} --remote {REMOTE}",
            ) from error


def open_remote(settings: Settings, workspace: Workspace) -> WorkspaceRemote | None:
    """None where there is no bucket."""
    storage = parse_storage_url(settings.storage_url)
    return WorkspaceRemote(workspace, storage) if isinstance(storage, BucketStorage) else None

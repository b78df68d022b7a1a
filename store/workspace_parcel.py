"""A workspace on its way to another machine, and the commits that come back from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from loop.errors import Misconfigured
from store.workspace import Workspace, checked, git

_HISTORY, _FILES, _DELETED = "history.bundle", "files", "deleted.json"
# What the pipeline needs of files that nobody has committed.
_OWN = ("dvc.yaml", "dvc.lock", "params.yaml")


def pack(workspace: Workspace, parcel: Path, more: Iterable[Path] = ()) -> None:
    """Fill the folder ``parcel``: the history up to HEAD, what differs from it in tracked files,
    deleted ones too, and ``more`` files, by paths relative to the workspace."""
    folder = workspace.folder
    parcel.mkdir(parents=True)
    git(folder, "bundle", "create", "--quiet", str(parcel / _HISTORY), "HEAD")
    changed = _differing(folder, "--diff-filter=d")
    (parcel / _DELETED).write_text(json.dumps(_differing(folder, "--diff-filter=D")))
    own = [name for name in _OWN if (folder / name).is_file()]
    for name in dict.fromkeys([*changed, *own, *map(str, more)]):
        target = parcel / _FILES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target)
        target.chmod((folder / name).stat().st_mode & 0o777)


def unpack(parcel: Path, folder: Path, branch: str) -> Workspace:
    """The workspace of a parcel, in a new ``folder``, on a new branch."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    history = str((parcel / _HISTORY).absolute())
    checked(["git", "clone", "--quiet", "--no-checkout", history, str(folder)], folder.parent)
    git(folder, "remote", "remove", "origin")
    git(folder, "checkout", "--quiet", "-b", branch, git(folder, "rev-parse", "HEAD"))
    for name in json.loads((parcel / _DELETED).read_text()):
        (folder / name).unlink(missing_ok=True)
    if (parcel / _FILES).is_dir():
        shutil.copytree(parcel / _FILES, folder, dirs_exist_ok=True)
    return Workspace(folder)


def _differing(folder: Path, which: str) -> list[str]:
    # Without -z, git writes names in quotes that are not of ASCII alone.
    names = git(folder, "diff", "--name-only", "--no-renames", "-z", which, "HEAD")
    return [name for name in names.split("\0") if name]


def pack_commits(workspace: Workspace, base: str, branch: str, bundle: Path) -> bool:
    """What ``branch`` has beyond the commit ``base``, as a file; False if that is nothing."""
    if git(workspace.folder, "rev-parse", branch) == base:
        return False
    git(workspace.folder, "bundle", "create", "--quiet", str(bundle), branch, f"^{base}")
    return True


def take_commits(workspace: Workspace, bundle: Path, branch: str) -> bool:
    """Bring them into ``workspace`` as ``branch``, and HEAD up to it if it is simply behind, with
    no change of its own; whether it now is there.

    Raises `Misconfigured` if ``bundle`` goes on from a commit that is not here.
    """
    folder = workspace.folder
    try:
        git(folder, "fetch", "--quiet", str(bundle.absolute()), f"+{branch}:{branch}")
    except Misconfigured as error:
        raise Misconfigured(
            f"The job's commits do not fit onto {folder}.",
            hint=f"Fetch them in the workspace that the job came from. git says: {error.hint}",
        ) from error
    if git(folder, "status", "--porcelain", "--untracked-files=no"):
        return False
    try:
        git(folder, "merge", "--quiet", "--ff-only", branch)
    except Misconfigured:  # it has gone on by itself
        return False
    return True

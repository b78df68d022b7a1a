"""``python -m cluster.job_entry COMMAND …``: a job on a cluster elsewhere, on its head.

It makes the workspace of what came with the job, runs the command of ``secondlook`` in it, and
brings what comes out to the bucket: data and models by DVC, the commits as ``jobs/ID/`` there, from
where `secondlook jobs fetch` takes them. Without a workspace the command is run as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cluster.job_package import WORKSPACE
from loop.errors import BrokenRecord, Conflict, LoopError, Misconfigured, NotFound
from loop.events import now
from store.objects import Bucket, open_objects
from store.settings import Settings, load_settings
from store.workspace import Workspace, run_as_group, workspace_environment
from store.workspace_parcel import pack_commits, take_commits, unpack
from store.workspace_remote import WorkspaceRemote, open_remote
from train.stage import out, run_stage

_RESULT, _COMMITS = "result.json", "commits.bundle"
# `secondlook` gives a stage a minute to save what it has; it gets a little more itself.
_SECONDS_TO_END = 75.0
# Tables and figures that are shown without fetching the rest.
_SHOWN = (".csv", ".json", ".md")
_MOST_SHOWN_BYTES = 2**20
_SET = "Set SECONDLOOK_STORAGE_URL to what the cluster's nodes have."


def main(arguments: Sequence[str]) -> None:
    # Where the nodes have no home, a job's is not to be in a folder of Ray's that goes with it.
    os.environ.setdefault("SECONDLOOK_HOME", str(Path.home() / ".second-look"))
    settings = load_settings()
    bucket, parcel = _bucket(settings), Path.cwd() / WORKSPACE
    if not parcel.is_dir():
        settings.home.mkdir(parents=True, exist_ok=True)
        _command(arguments, settings.home)
        return
    folder = settings.home / "jobs" / settings.job / "workspace"
    if folder.exists():
        raise Conflict(f"{folder} is there already.", hint="Hand in the job again.")
    branch = _branch(settings.job)
    try:
        workspace = unpack(parcel, folder, branch)
        base = workspace.rev().removesuffix("-dirty")
        remote = _remote(settings, workspace)
        remote.configure(cache=settings.home / "cache" / "dvc")
        _get_what_is_there(remote, workspace)
        _command(arguments, folder)
    except BaseException:
        # A training that is taken up again has what it needs in the bucket.
        shutil.rmtree(folder.parent, ignore_errors=True)
        raise
    try:
        remote.push()
        _put_result(bucket, settings.job, workspace, base, branch)
    except LoopError:
        out.print(f"What came out is on the head, in {folder}, and nowhere else.", markup=False)
        raise
    shutil.rmtree(folder.parent)


def fetch_result(settings: Settings, job_id: str, workspace: Workspace) -> tuple[str, bool]:
    """Bring what a job elsewhere committed into ``workspace``, as the branch ``jobs/ID``, with the
    files that DVC keeps. The revision, and whether the workspace is at it now.

    Raises `NotFound` for a job that has brought nothing to the bucket.
    """
    remote = _remote(settings, workspace)
    bucket = open_objects(settings)
    if bucket is None:
        raise Misconfigured(
            "Results of jobs elsewhere are in a bucket, and none is set.", hint=_SET
        )
    try:
        result = json.loads(bucket.get(f"jobs/{job_id}/{_RESULT}"))
        rev, commits = str(result["rev"]), bool(result["commits"])
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenRecord(
            f"What {bucket} has as the result of job {job_id} is none.",
            hint=f"Who writes to its folder jobs/{job_id}/ besides Second Look?",
        ) from error
    except NotFound as error:
        raise NotFound(
            f"Job {job_id} has brought no result to {bucket}.",
            hint="It has not ended well, or it ran in place: secondlook jobs list.",
        ) from error
    there = True
    if commits:
        with tempfile.TemporaryDirectory(prefix="sl-fetch-") as folder:
            bundle = Path(folder) / _COMMITS
            bucket.get_file(f"jobs/{job_id}/{_COMMITS}", bundle)
            there = take_commits(workspace, bundle, _branch(job_id))
    remote.configure()
    if there:
        remote.pull()
    return rev, there


def _branch(job_id: str) -> str:
    return f"jobs/{job_id}"


def _bucket(settings: Settings) -> Bucket:
    if not settings.job:
        raise Misconfigured("This is for a job of Ray.", hint="secondlook jobs submit makes one.")
    if not settings.database_url:
        raise Misconfigured(
            "The cluster's nodes do not know the database.",
            hint="Set SECONDLOOK_DATABASE_URL in their environment (docs/cluster.md).",
        )
    bucket = open_objects(settings)
    if bucket is None:
        raise Misconfigured(
            "The cluster's nodes do not know the bucket.",
            hint="Set SECONDLOOK_STORAGE_URL in their environment (docs/cluster.md).",
        )
    bucket.check()
    return bucket


def _remote(settings: Settings, workspace: Workspace) -> WorkspaceRemote:
    remote = open_remote(settings, workspace)
    if remote is None:
        raise Misconfigured(
            "Results of jobs elsewhere are in a bucket, and none is set.", hint=_SET
        )
    return remote


def _get_what_is_there(remote: WorkspaceRemote, workspace: Workspace) -> None:
    if not (workspace.folder / "dvc.lock").exists():
        return
    try:
        remote.pull()
    except LoopError as error:
        # Whatever is not there is made anew by the stages.
        out.print(f"Not all that dvc.lock names is in the bucket: {error.message}", markup=False)


def _command(arguments: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-m", "cluster.cli", *arguments]
    status = run_as_group(command, folder, workspace_environment(), _SECONDS_TO_END)
    if status != 0:
        sys.exit(status)


def _put_result(bucket: Bucket, job_id: str, workspace: Workspace, base: str, branch: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sl-result-") as folder:
        bundle = Path(folder) / _COMMITS
        commits = pack_commits(workspace, base, branch, bundle)
        if commits:
            bucket.put_file(f"jobs/{job_id}/{_COMMITS}", bundle)
    for path in sorted((workspace.folder / "media").rglob("*")):
        if path.suffix in _SHOWN and path.is_file() and path.stat().st_size <= _MOST_SHOWN_BYTES:
            name = path.relative_to(workspace.folder).as_posix()
            bucket.put_file(f"jobs/{job_id}/files/{name}", path)
    result = {
        "job": job_id,
        "base": base,
        "rev": workspace.rev(),
        "branch": branch,
        "commits": commits,
        "ended_at": now(),
    }
    # Last: whoever finds it finds the rest.
    bucket.put(f"jobs/{job_id}/{_RESULT}", json.dumps(result, indent=1).encode())
    out.print(f"Results are in {bucket}: secondlook jobs fetch {job_id}", markup=False)


if __name__ == "__main__":
    sys.exit(run_stage(lambda: main(sys.argv[1:])))

"""What a job elsewhere brings back, in the workspace that it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster import job_entry
from cluster.job_entry import fetch_result, main
from loop.errors import BrokenRecord, Misconfigured, Unavailable
from store.settings import load_settings
from store.workspace import Workspace, git
from store.workspace_parcel import pack
from store.workspace_remote import WorkspaceRemote
from tests.s3 import S3Server, open_bucket
from tests.store.test_workspace_parcel import workspace  # noqa: F401


def test_a_result_changes_no_branch_but_the_job_s_own(
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
    s3: S3Server,
) -> None:
    url, folder = s3.bucket(), workspace.folder
    git(folder, "branch", "precious")
    before = git(folder, "rev-parse", "precious")
    git(folder, "clone", "--quiet", str(folder), str(tmp_path / "other"))
    other = tmp_path / "other"
    git(other, "checkout", "--quiet", "-b", "precious")
    identity = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    git(other, *identity, "commit", "--quiet", "--allow-empty", "--message", "another")
    git(other, "bundle", "create", "--quiet", str(tmp_path / "bundle"), "precious")
    bucket = open_bucket(url)
    bucket.put_file("jobs/sl-1/commits.bundle", tmp_path / "bundle")
    result = {"branch": "precious", "rev": "x", "commits": True}
    bucket.put("jobs/sl-1/result.json", json.dumps(result).encode())
    settings = load_settings(tmp_path / "home").model_copy(update={"storage_url": url})
    with pytest.raises(Misconfigured):
        fetch_result(settings, "sl-1", workspace)
    assert git(folder, "rev-parse", "precious") == before


@pytest.mark.parametrize("text", ["no json", "[]", '{"rev": "x"}'])
def test_a_result_that_is_none_is_refused(
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
    s3: S3Server,
    text: str,
) -> None:
    url = s3.bucket()
    open_bucket(url).put("jobs/sl-1/result.json", text.encode())
    settings = load_settings(tmp_path / "home").model_copy(update={"storage_url": url})
    with pytest.raises(BrokenRecord, match="sl-1"):
        fetch_result(settings, "sl-1", workspace)


@pytest.fixture
def on_a_head(
    workspace: Workspace,  # noqa: F811
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """In the folder of a job that Ray starts; the workspace that it makes there."""
    package, home = tmp_path / "package", tmp_path / "head"
    pack(workspace, package / "workspace")
    monkeypatch.chdir(package)
    monkeypatch.setenv("SECONDLOOK_HOME", str(home))
    monkeypatch.setenv("SECONDLOOK_JOB", "sl-kfold-00000001")
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", f"sqlite:///{home / 'x.db'}")
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", s3.bucket())
    return home / "jobs" / "sl-kfold-00000001" / "workspace"


def test_a_job_that_fails_leaves_no_copy_of_the_workspace_on_the_head(
    on_a_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(arguments: list[str], folder: Path) -> None:
        assert folder == on_a_head
        assert folder.is_dir()
        raise SystemExit(3)

    monkeypatch.setattr(job_entry, "_command", fails)
    with pytest.raises(SystemExit):
        main(["train", "kfold"])
    assert not on_a_head.parent.exists()


def test_what_does_not_reach_the_bucket_stays_on_the_head(
    on_a_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push(self: WorkspaceRemote) -> None:
        raise Unavailable("The bucket is away.")

    monkeypatch.setattr(job_entry, "_command", lambda arguments, folder: None)
    monkeypatch.setattr(WorkspaceRemote, "push", push)
    with pytest.raises(Unavailable):
        main(["train", "kfold"])
    assert on_a_head.is_dir()

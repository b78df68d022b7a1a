"""What a job elsewhere brings back, in the workspace that it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.job_entry import fetch_result
from loop.errors import BrokenRecord, Misconfigured
from store.settings import load_settings
from store.workspace import Workspace, git
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

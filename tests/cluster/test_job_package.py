from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cluster import job_package as module
from cluster.job_package import job_package
from loop.errors import TooLarge
from store.workspace import Workspace
from tests.store.test_workspace_parcel import workspace  # noqa: F401


def test_the_code_is_in_it_that_a_job_runs_and_nothing_else() -> None:
    with job_package(None) as (package, _), zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        assert archive.read("CODE_VERSION").strip()
    assert {name.partition("/")[0] for name in names} == {
        *("loop", "store", "detector", "serve", "train", "ui", "cluster", "CODE_VERSION"),
        "configs",
    }
    # What is said of clusters may lie beside their secrets.
    assert [name for name in names if name.startswith("configs/")] == ["configs/yolo-demo.yaml"]
    entry = {"cluster/job.sh", "cluster/job_entry.py"}
    assert entry | {"store/workspace_template/dvc.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_same_code_has_the_same_digest() -> None:
    with job_package(None) as (_, first), job_package(None) as (_, second):
        assert first == second


def test_the_workspace_is_in_it_with_the_weights(
    workspace: Workspace,  # noqa: F811
) -> None:
    (workspace.folder / "base.pt").write_bytes(b"weights")
    with (
        job_package(workspace, (Path("base.pt"),)) as (package, _),
        zipfile.ZipFile(package) as archive,
    ):
        assert archive.read("workspace/files/base.pt") == b"weights"
        assert "workspace/history.bundle" in archive.namelist()


def test_what_is_too_large_to_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    with pytest.raises(TooLarge, match="a job may bring"), job_package(None):
        pass

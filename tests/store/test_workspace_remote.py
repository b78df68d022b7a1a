from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from loop.errors import Unavailable
from store.processes import free_port
from store.settings import Settings, load_settings
from store.workspace import Workspace, git, init_workspace
from store.workspace_remote import REMOTE, open_remote
from tests.s3 import S3Server, open_bucket


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return init_workspace(tmp_path / "workspace")


def stored(url: str, tmp_path: Path) -> Settings:
    return load_settings(tmp_path / "home").model_copy(update={"storage_url": url})


@pytest.mark.parametrize("url", ["", "file:///srv/second-look"], ids=["home", "folder"])
def test_without_a_bucket_there_is_no_remote(
    workspace: Workspace, tmp_path: Path, url: str
) -> None:
    assert open_remote(stored(url, tmp_path), workspace) is None


def test_what_is_known_of_it_stays_out_of_git_and_beside_the_user_s_own(
    workspace: Workspace, tmp_path: Path
) -> None:
    local = workspace.folder / ".dvc" / "config.local"
    local.write_text("[core]\n    remote = mine\n")
    remote = open_remote(
        stored("s3://bucket/sl?endpoint_url=http://store:9000", tmp_path), workspace
    )
    assert remote is not None
    remote.configure()
    text = local.read_text()
    assert "remote = mine" in text
    assert f"['remote \"{REMOTE}\"']" in text
    assert "url = s3://bucket/sl/dvc" in text
    assert "endpointurl = http://store:9000" in text
    assert git(workspace.folder, "status", "--porcelain") == ""
    remote.configure()
    assert local.read_text() == text


def test_a_full_disk_takes_nothing_of_the_user_s_own(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = workspace.folder / ".dvc" / "config.local"
    local.write_text("[core]\n    remote = mine\n")
    remote = open_remote(stored("s3://bucket/sl", tmp_path), workspace)
    assert remote is not None

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("configparser.ConfigParser.write", full)
    with pytest.raises(OSError, match="space"):
        remote.configure()
    assert local.read_text() == "[core]\n    remote = mine\n"


@pytest.mark.slow
def test_data_goes_to_the_bucket_and_is_got_from_there(
    workspace: Workspace, tmp_path: Path, s3: S3Server
) -> None:
    url = s3.bucket()
    folder = workspace.folder
    (folder / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: mkdir -p data && echo 1 > data/one\n    outs: [data/one]\n"
    )
    workspace.repro(["one"])
    workspace.commit("one")
    remote = open_remote(stored(url, tmp_path), workspace)
    assert remote is not None
    remote.configure()
    remote.push()
    assert [info for info in open_bucket(url).list("dvc/") if info.size]
    git(tmp_path, "clone", "--quiet", str(folder), "there")
    there = Workspace(tmp_path / "there")
    other = open_remote(stored(url, tmp_path), there)
    assert other is not None
    other.configure(cache=tmp_path / "cache")
    other.pull()
    assert (there.folder / "data" / "one").read_text() == "1\n"
    assert list((tmp_path / "cache").rglob("*"))


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_said_to(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder = workspace.folder
    (folder / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: mkdir -p data && echo 1 > data/one\n    outs: [data/one]\n"
    )
    workspace.repro(["one"])
    url = f"s3://bucket?endpoint_url=http://127.0.0.1:{free_port()}"
    remote = open_remote(stored(url, tmp_path), workspace)
    assert remote is not None
    remote.configure()
    with pytest.raises(Unavailable, match="dvc push") as caught:
        remote.push()
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint

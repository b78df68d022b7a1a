from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import Misconfigured
from store.workspace import Workspace, git
from store.workspace_parcel import pack, pack_commits, take_commits, unpack

BRANCH = "jobs/sl-kfold-00000001"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Without what DVC adds to it, which takes seconds."""
    folder = tmp_path / "workspace"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").touch()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text("EPOCHS: 1\n")
    (folder / ".gitignore").write_text("/data/\n/base.pt\n")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "second-look")
    git(folder, "config", "user.email", "second-look@localhost")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return Workspace(folder)


def moved(workspace: Workspace, tmp_path: Path, *more: Path) -> Workspace:
    pack(workspace, tmp_path / "parcel", more)
    return unpack(tmp_path / "parcel", tmp_path / "there" / "workspace", BRANCH)


def changed(workspace: Workspace, epochs: int) -> str:
    (workspace.folder / "params.yaml").write_text(f"EPOCHS: {epochs}\n")
    return workspace.commit(f"{epochs} epochs")


def test_history_and_what_is_not_committed_travel_and_data_does_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    changed(workspace, 2)
    (workspace.folder / "params.yaml").write_text("EPOCHS: 3\n")
    (workspace.folder / "data").mkdir()
    (workspace.folder / "data" / "shard.parquet").touch()
    (workspace.folder / "base.pt").write_bytes(b"weights")
    there = moved(workspace, tmp_path, Path("base.pt"))
    assert git(there.folder, "rev-parse", "HEAD") == git(workspace.folder, "rev-parse", "HEAD")
    assert git(there.folder, "branch", "--show-current") == BRANCH
    assert (there.folder / "params.yaml").read_text() == "EPOCHS: 3\n"
    assert (there.folder / "base.pt").read_bytes() == b"weights"
    assert not (there.folder / "data").exists()
    assert git(there.folder, "remote") == ""


def test_changed_files_travel_whatever_their_names_are(
    workspace: Workspace, tmp_path: Path
) -> None:
    for name in ("Präparate.yaml", 'a "quoted" name', "two  words"):
        (workspace.folder / name).write_text("committed")
        git(workspace.folder, "add", name)
        git(workspace.folder, "commit", "--quiet", "--message", name)
        (workspace.folder / name).write_text("changed")
    there = moved(workspace, tmp_path)
    assert (there.folder / "Präparate.yaml").read_text() == "changed"
    assert (there.folder / 'a "quoted" name').read_text() == "changed"
    assert (there.folder / "two  words").read_text() == "changed"


def test_what_was_deleted_here_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    """A state of the pipeline, for one, that is to be made anew."""
    (workspace.folder / "dvc.lock").write_text("schema: '2.0'\n")
    git(workspace.folder, "add", "dvc.lock")
    git(workspace.folder, "commit", "--quiet", "--message", "a state")
    (workspace.folder / "dvc.lock").unlink()
    there = moved(workspace, tmp_path)
    assert not (there.folder / "dvc.lock").exists()
    assert (there.folder / "params.yaml").exists()


def test_commits_come_back_and_the_workspace_goes_on_to_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    base = git(workspace.folder, "rev-parse", "HEAD")
    there = moved(workspace, tmp_path)
    rev = changed(there, 5)
    assert pack_commits(there, base, BRANCH, tmp_path / "commits")
    assert take_commits(workspace, tmp_path / "commits", BRANCH)
    assert git(workspace.folder, "rev-parse", "HEAD") == rev
    assert (workspace.folder / "params.yaml").read_text() == "EPOCHS: 5\n"
    assert take_commits(workspace, tmp_path / "commits", BRANCH)


def test_a_workspace_that_has_gone_on_keeps_its_own_and_gets_a_branch(
    workspace: Workspace, tmp_path: Path
) -> None:
    base = git(workspace.folder, "rev-parse", "HEAD")
    there = moved(workspace, tmp_path)
    rev, own = changed(there, 5), changed(workspace, 7)
    pack_commits(there, base, BRANCH, tmp_path / "commits")
    assert not take_commits(workspace, tmp_path / "commits", BRANCH)
    assert git(workspace.folder, "rev-parse", "HEAD") == own
    assert git(workspace.folder, "rev-parse", BRANCH) == rev


def test_a_change_that_is_not_committed_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    base = git(workspace.folder, "rev-parse", "HEAD")
    there = moved(workspace, tmp_path)
    changed(there, 5)
    pack_commits(there, base, BRANCH, tmp_path / "commits")
    (workspace.folder / "params.yaml").write_text("EPOCHS: 9\n")
    assert not take_commits(workspace, tmp_path / "commits", BRANCH)
    assert (workspace.folder / "params.yaml").read_text() == "EPOCHS: 9\n"


def test_without_a_commit_there_is_nothing_to_bring(workspace: Workspace, tmp_path: Path) -> None:
    there = moved(workspace, tmp_path)
    base = git(workspace.folder, "rev-parse", "HEAD")
    assert not pack_commits(there, base, BRANCH, tmp_path / "commits")


def test_another_workspace_does_not_take_them(workspace: Workspace, tmp_path: Path) -> None:
    base = git(workspace.folder, "rev-parse", "HEAD")
    there = moved(workspace, tmp_path)
    changed(there, 5)
    pack_commits(there, base, BRANCH, tmp_path / "commits")
    other = tmp_path / "other"
    (other / ".dvc").mkdir(parents=True)
    (other / "dvc.yaml").touch()
    git(other, "init", "--quiet")
    with pytest.raises(Misconfigured, match="do not fit"):
        take_commits(Workspace(other), tmp_path / "commits", BRANCH)

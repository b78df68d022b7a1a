from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from loop.errors import Misconfigured, TrainingFailed
from store.workspace import Workspace, init_workspace

REPOSITORY = Path(__file__).parents[2]
TEMPLATE = REPOSITORY / "store" / "workspace_template"

# Stand-ins for the stages: in a workspace, its own folder comes first on Python's path.
COLLECT = """
import os, pathlib
folder = pathlib.Path("data/adjudicated/snapshot")
folder.mkdir(parents=True, exist_ok=True)
(folder / "manifest.json").write_text(os.environ.get("CONTENT", "one"))
with open("ran.txt", "a") as log:
    log.write("collect\\n")
"""
FOLDS = """
import pathlib, yaml
k = yaml.safe_load(open("params.yaml"))["K_FOLDS"]
pathlib.Path("data/adjudicated/folds.parquet").write_text(str(k))
pathlib.Path("data/adjudicated/folds_report.json").write_text("{}")
with open("ran.txt", "a") as log:
    log.write("folds\\n")
"""
TRAIN = """
import pathlib
folder = pathlib.Path("media/runs/kfold")
folder.mkdir(parents=True, exist_ok=True)
(folder / "kfold_results.csv").write_text("fold,map50\\n0,0.5\\n")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with stages that take no time, made on a machine that git does not know."""
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("made") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        init_workspace(folder)
    (folder / "train").mkdir()
    (folder / "train" / "__init__.py").touch()
    (folder / "train" / "data_collection.py").write_text(COLLECT)
    (folder / "train" / "kfold_data_formatting.py").write_text(FOLDS)
    (folder / "train" / "kfold_model_training.py").write_text(TRAIN)
    (folder / ".git" / "info" / "exclude").write_text("train/\nran.txt\n")
    return folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    shutil.copytree(made, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def ran(workspace: Workspace) -> list[str]:
    return (workspace.folder / "ran.txt").read_text().split()


def test_a_new_workspace_is_clean_and_committed(workspace: Workspace) -> None:
    assert git(workspace.folder, "status", "--porcelain") == ""
    assert workspace.rev() == git(workspace.folder, "rev-parse", "HEAD")
    assert git(workspace.folder, "ls-files").split() == [
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        "dvc.yaml",
        "params.yaml",
        "run_kfold_cv.sh",
    ]
    assert os.access(workspace.folder / "run_kfold_cv.sh", os.X_OK)


def test_the_repository_is_a_workspace_like_any_other(workspace: Workspace) -> None:
    for template, name in {
        "dvc.yaml": "dvc.yaml",
        "params.yaml": "params.yaml",
        "run_kfold_cv.sh": "run_kfold_cv.sh",
        "dvcignore": ".dvcignore",
    }.items():
        assert (REPOSITORY / name).read_bytes() == (TEMPLATE / template).read_bytes()
    for name in (".dvc/config", ".dvc/.gitignore"):
        assert (REPOSITORY / name).read_text() == (workspace.folder / name).read_text()
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    rules = (TEMPLATE / "gitignore").read_text().splitlines()
    for rule in (rule for rule in rules if not rule.startswith("#")):
        assert rule.strip("/") in {line.strip("/") for line in ignored}


def test_making_a_workspace_again_keeps_what_the_user_changed(workspace: Workspace) -> None:
    (workspace.folder / "params.yaml").write_text("K_FOLDS: 3\n")
    (workspace.folder / "notes.txt").write_text("mine")
    (workspace.folder / ".dvcignore").unlink()
    init_workspace(workspace.folder)
    assert (workspace.folder / "params.yaml").read_text() == "K_FOLDS: 3\n"
    assert (workspace.folder / ".dvcignore").is_file()
    assert git(workspace.folder, "status", "--porcelain") == "?? notes.txt"


def test_a_workspace_that_was_cut_off_half_way_is_finished(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    shutil.copy(TEMPLATE / "params.yaml", tmp_path)
    workspace = init_workspace(tmp_path)
    assert not workspace.rev().endswith("-dirty")


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(Misconfigured, match="not a workspace") as caught:
        init_workspace(tmp_path)
    assert "empty folder" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="is a file"):
        init_workspace(tmp_path / "file")


def test_without_git_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="git") as caught:
        init_workspace(tmp_path / "new")
    assert "apt-get install git" in caught.value.hint


def test_a_folder_that_is_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        Workspace(tmp_path)
    assert "secondlook init" in caught.value.hint


def test_parameters_change_and_their_comments_stay(workspace: Workspace) -> None:
    before = (workspace.folder / "params.yaml").read_text()
    workspace.set_params({"K_FOLDS": "3", "BASE_MODEL": "/a/b.pt", "train.lr0": "0.005"})
    after = (workspace.folder / "params.yaml").read_text()
    params = yaml.safe_load(after)
    assert (params["K_FOLDS"], params["BASE_MODEL"]) == (3, "/a/b.pt")
    assert params["train"] == {"lr0": 0.005}
    comments = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == comments
    assert after.count("  # ") == before.count("  # ")


def test_small_numbers_are_written_as_numbers(workspace: Workspace) -> None:
    values = {"lr0": 1e-05, "weight_decay": 1.25e-05, "mosaic": 0.5}
    workspace.set_params({f"train.{name}": value for name, value in values.items()})
    assert yaml.safe_load((workspace.folder / "params.yaml").read_text())["train"] == values


@pytest.mark.parametrize("name", ["K_FOLD", "nowhere.lr0", "EPOCHS.x"])
def test_a_parameter_that_does_not_exist_is_refused(workspace: Workspace, name: str) -> None:
    before = (workspace.folder / "params.yaml").read_text()
    with pytest.raises(Misconfigured) as caught:
        workspace.set_params({name: 1})
    assert "K_FOLDS" in caught.value.hint
    assert (workspace.folder / "params.yaml").read_text() == before


@pytest.mark.slow
def test_stages_run_once_and_again_only_for_new_data_or_parameters(workspace: Workspace) -> None:
    workspace.repro(["kfold_data_formatting"])
    assert ran(workspace) == ["collect", "folds"]
    workspace.repro(["kfold_data_formatting"])
    assert ran(workspace)[2:] == ["collect"]
    workspace.repro(["kfold_data_formatting"], params={"K_FOLDS": "2"})
    assert ran(workspace)[3:] == ["collect", "folds"]
    assert (workspace.folder / "data/adjudicated/folds.parquet").read_text() == "2"
    workspace.repro(["kfold_data_formatting"], env={"CONTENT": "two"})
    assert ran(workspace)[5:] == ["collect", "folds"]


@pytest.mark.slow
def test_a_stage_alone_runs_whatever_its_state_and_nothing_before_it(workspace: Workspace) -> None:
    workspace.repro(["kfold_data_formatting"])
    workspace.repro(["kfold_data_formatting"], alone=True)
    assert ran(workspace) == ["collect", "folds", "folds"]


@pytest.mark.slow
def test_the_state_of_the_pipeline_is_committed_and_nothing_else(workspace: Workspace) -> None:
    first = workspace.rev()
    (workspace.folder / "notes.txt").write_text("mine")
    git(workspace.folder, "add", "notes.txt")
    workspace.repro(["data_collection"])
    assert workspace.rev() == f"{first}-dirty"
    second = workspace.commit("A snapshot")
    assert second != first
    assert git(workspace.folder, "show", "--name-only", "--format=%s").split("\n") == [
        "A snapshot",
        "",
        "dvc.lock",
    ]
    assert workspace.commit("Nothing new") == second
    git(workspace.folder, "reset", "--quiet")
    assert workspace.rev() == second
    workspace.set_params({"EPOCHS": 1})
    assert workspace.rev() == f"{second}-dirty"


@pytest.mark.slow
def test_an_earlier_snapshot_comes_back_by_its_revision(workspace: Workspace) -> None:
    manifest = workspace.folder / "data/adjudicated/snapshot/manifest.json"
    workspace.repro(["data_collection"])
    first = workspace.commit("One")
    workspace.repro(["data_collection"], env={"CONTENT": "two"})
    workspace.commit("Two")
    assert manifest.read_text() == "two"
    git(workspace.folder, "checkout", "--quiet", first, "--", "dvc.lock")
    subprocess.run(
        [sys.executable, "-m", "dvc", "checkout", "-q", "--force", "data_collection"],
        cwd=workspace.folder,
        check=True,
    )
    assert manifest.read_text() == "one"


@pytest.mark.slow
def test_a_stage_that_fails_is_a_failed_training(workspace: Workspace) -> None:
    (workspace.folder / "train" / "data_collection.py").write_text("raise SystemExit(3)")
    with pytest.raises(TrainingFailed, match="data_collection") as caught:
        workspace.repro(["data_collection"])
    assert caught.value.hint


def test_a_stage_that_does_not_exist_is_refused_with_those_that_do(workspace: Workspace) -> None:
    with pytest.raises(Misconfigured, match="no stage train") as caught:
        workspace.repro(["train"])
    assert "first_reviewer_kfold_model_training" in caught.value.hint


@pytest.mark.slow
def test_an_interrupt_reaches_the_stage_once_and_is_waited_for(workspace: Workspace) -> None:
    (workspace.folder / "train" / "data_collection.py").write_text(
        "import os, pathlib, signal, time\n"
        f"os.kill({os.getpid()}, signal.SIGUSR1)\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    pathlib.Path('saved').write_text('all that there was')\n"
        "    raise\n"
    )

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, press)
    try:
        with pytest.raises(KeyboardInterrupt):
            workspace.repro(["data_collection"])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (workspace.folder / "saved").exists()


def run_script(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(workspace.folder / "run_kfold_cv.sh"), *arguments],
        cwd="/",
        env=os.environ | {"PATH": path},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_script_sets_what_it_is_told_and_trains_the_folds(workspace: Workspace) -> None:
    git(workspace.folder, "config", "--unset", "user.email")
    done = run_script(
        workspace, "--k=3", "--epochs=2", "--batch-size=4", "--img-size=320", "--patience=1"
    )
    assert done.returncode == 0, done.stderr
    params = yaml.safe_load((workspace.folder / "params.yaml").read_text())
    assert [
        params[name] for name in ("K_FOLDS", "EPOCHS", "BATCH_SIZE", "IMG_SIZE", "PATIENCE")
    ] == [
        3,
        2,
        4,
        320,
        1,
    ]
    assert (workspace.folder / "media/runs/kfold/kfold_results.csv").is_file()
    assert run_script(workspace).returncode == 0


@pytest.mark.parametrize("argument", ["--folds=3", "--k", "--k=", "k=3"])
def test_the_script_refuses_what_it_does_not_know(workspace: Workspace, argument: str) -> None:
    done = run_script(workspace, argument)
    assert done.returncode == 2
    assert argument in done.stderr
    assert "Usage" in done.stderr


def test_the_script_shows_its_help(workspace: Workspace) -> None:
    done = run_script(workspace, "--help")
    assert done.returncode == 0
    for option in ("--k=", "--epochs=", "--batch-size=", "--img-size=", "--patience="):
        assert option in done.stdout

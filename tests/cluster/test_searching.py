"""``secondlook train search`` on a detector that is really trained, killed on its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from cluster import cli
from loop.errors import LoopError
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.processes import marked_processes
from store.settings import Settings
from store.tracking import RunInfo, open_tracking
from store.workspace import Workspace, init_workspace
from tests.cluster.true_images import fill

SIZE_PX, IMAGES, FOLDS, TRIALS, EPOCHS = 64, 12, 2, 4, 2
PARAMS: dict[str, Any] = {
    "K_FOLDS": FOLDS,
    "EPOCHS": EPOCHS,
    "BATCH_SIZE": 4,
    "IMG_SIZE": SIZE_PX,
    "ARCHITECTURE": "yolo-demo.yaml",
    "NEAR_DUPLICATE_DISTANCE": -1,
    "ALLOW_RARE_CLASSES": True,
    "train.nbs": 4,
    "search": {
        "lr0": {"low": 0.0005, "high": 0.02, "log": True},
        "mosaic": {"low": 0.0, "high": 1.0},
    },
}
# For whatever the test waits for on a busy machine.
PATIENCE_S, POLL_S = 900.0, 0.2


@pytest.fixture
def workspace(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """With true images in its home, one of them gold."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SECONDLOOK_HOME", str(settings.home))
    fill(settings, IMAGES, SIZE_PX)
    found = init_workspace(tmp_path / "workspace")
    found.set_params(PARAMS)
    yield found
    for process in marked_processes("SECONDLOOK_HOME", str(settings.home)):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def start(workspace: Workspace, *arguments: str) -> subprocess.Popen[str]:
    with (workspace.folder.parent / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", "train", "search", *arguments],
            cwd=workspace.folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def trials(settings: Settings) -> list[RunInfo]:
    tracking = open_tracking(settings)
    searches = tracking.runs({"loop.kind": "search"}, 2)
    return tracking.child_runs(searches[0].run_id) if searches else []


def third_trial_is_at_work(settings: Settings) -> bool:
    found = trials(settings)
    settled = [trial for trial in found if "loop.trial_state" in trial.tags]
    if len(settled) < 2 or len(found) < 3:
        return False
    folds = open_tracking(settings).child_runs(found[2].run_id)
    return any(fold.metrics for fold in folds)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(3000)
def test_a_search_whose_process_is_killed_goes_on_and_writes_the_best_back(
    settings: Settings, workspace: Workspace
) -> None:
    before = (workspace.folder / "params.yaml").read_text()
    open_tracking(settings).prepare()
    killed = start(workspace, "--trials", str(TRIALS))
    deadline = time.monotonic() + PATIENCE_S
    while not third_trial_is_at_work(settings):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    begun = [trial.run_id for trial in trials(settings)]

    resumed = start(workspace, "--resume", "last", "--write-best", "--json")
    answer = json.loads(resumed.communicate(timeout=PATIENCE_S)[0])
    assert resumed.returncode == 0
    assert len(answer["trials"]) == TRIALS
    _check_mlflow(settings, answer, begun)
    _check_params(workspace, before, answer)
    _check_files(settings, workspace)
    _check_record(settings, answer)
    deadline = time.monotonic() + PATIENCE_S
    while marked_processes("SECONDLOOK_HOME", str(settings.home)):  # Ray's end takes seconds
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    assert not list((settings.home / "training").iterdir())


def _check_mlflow(settings: Settings, answer: dict[str, Any], begun: list[str]) -> None:
    """Three levels, each trial once, the one that was interrupted in the run that it had."""
    tracking, found = open_tracking(settings), trials(settings)
    search = tracking.run(answer["mlflow_run_id"])
    assert (search.status, search.tags["loop.kind"]) == ("FINISHED", "search")
    assert "search.lr0" in search.params
    assert [trial.tags["loop.trial"] for trial in found] == [str(n) for n in range(TRIALS)]
    assert [trial.run_id for trial in found[: len(begun)]] == begun
    assert [trial.run_id for trial in found] == [t["mlflow_run_id"] for t in answer["trials"]]
    for trial in found:
        assert trial.status in {"FINISHED", "KILLED"}
        assert trial.tags["loop.snapshot_sha256"] == search.tags["loop.snapshot_sha256"]
        assert trial.params["train.optimizer"] == "AdamW"
        folds = tracking.child_runs(trial.run_id)
        assert sorted(fold.tags["loop.fold"] for fold in folds) == ["0", "1"]
        for fold in folds:
            assert fold.tags["loop.kind"] == "fold"
            steps = tracking.metric_steps(fold.run_id, "map50_95")
            assert steps == [*range(1, len(steps) + 1)]
            if fold.status == "FINISHED":
                assert len(steps) == EPOCHS
    artifacts = {path.name for path in Path(search.artifact_uri.removeprefix("file://")).iterdir()}
    assert {"plots.html", "best_params.yaml", "search_results.csv"} <= artifacts


def _check_params(workspace: Workspace, before: str, answer: dict[str, Any]) -> None:
    after = (workspace.folder / "params.yaml").read_text()
    best = answer["best"]["params"]
    assert set(best) == {"train.lr0", "train.mosaic", "train.optimizer"}
    expected = {name.removeprefix("train."): value for name, value in best.items()}
    assert yaml.safe_load(after)["train"] == {"nbs": 4} | expected
    comments = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == comments
    assert after.count("  # ") == before.count("  # ")
    assert answer["written"]
    assert answer["dvc_rev"] == workspace.rev()
    assert not workspace.rev().endswith("-dirty")


def _check_files(settings: Settings, workspace: Workspace) -> None:
    folder = workspace.folder / "media" / "runs" / "search"
    assert len((folder / "search_results.csv").read_text().splitlines()) == 1 + TRIALS
    assert "Plotly.newPlot(" in (folder / "plots.html").read_text()
    assert open_model_registry(settings).versions() == []
    assert not list(workspace.folder.rglob("*.pt"))


def _check_record(settings: Settings, answer: dict[str, Any]) -> None:
    log = open_audit_log(settings)
    log.integrate()
    events = [entry.event for entry in log.tail(1000)]
    types = [event.type for event in events]
    assert types.index("search.started") < types.index("search.resumed")
    assert types[-2:] == ["search.ended", "search.applied"]
    assert types.count("search_trial.started") == TRIALS
    assert types.count("search_trial.resumed") == 1
    assert events[-1].details["params"] == answer["best"]["params"]
    sizes = [event.details for event in events if event.type == "fold.started"]
    assert {size["train_images"] + size["val_images"] for size in sizes} == {IMAGES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-S", "search={}"), "search is empty"),
        (("-S", "search.mozaic={low: 0, high: 1}"), "Did you mean mosaic?"),
        (("-S", "EPOCHS=2", "--resume", "last"), "began with"),
        (("--resume", "last"), "There is no search 'last'"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_starts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(workspace.folder)
    error = CliRunner().invoke(cli.app, ["train", "search", *arguments]).exception
    assert isinstance(error, LoopError)
    assert message in f"{error.message} {error.hint}"
    assert not (workspace.folder / "data").exists()

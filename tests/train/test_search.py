"""Searches of trials that learn next to nothing (`tests.train.light_search`), each a process."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from rich.console import Console

from loop.errors import Conflict, NotFound
from loop.events import Event
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.processes import marked_processes
from store.settings import Settings, load_settings
from store.tracking import RunInfo, open_tracking
from tests.train.generated import ARCHITECTURE, SIZE_PX, generated_snapshot
from tests.train.light_search import BEST_LR0, ONLY
from train.indices import write_folds
from train.paths import StagePaths
from train.search import resume_search

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PATHS = StagePaths(Labels.ADJUDICATED)
IMAGES, FOLDS, EPOCHS = 12, 2, 9
# The second one is above what `light_search` can learn with.
LR0 = {"low": 0.0001, "high": 0.9, "log": True}
PARAMS: dict[str, Any] = {
    "K_FOLDS": FOLDS,
    "EPOCHS": EPOCHS,
    "BATCH_SIZE": 4,
    "IMG_SIZE": SIZE_PX,
    "PATIENCE": 0,
    "CPUS_PER_FOLD": 0.5,
    "ARCHITECTURE": str(ARCHITECTURE),
    "train": {"nbs": 4},
    "search": {"lr0": LR0, "optimizer": {"choices": ["SGD", "AdamW"]}},
}
# What Ray calls the process of a trial.
TRIAL = "ray::ResourceTrainable"
# For whatever a test waits for on a busy machine.
PATIENCE_S, POLL_S = 600.0, 0.3


@dataclass(frozen=True)
class Place:
    folder: Path
    settings: Settings

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """In a process group of its own, as from a terminal."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.train.light_search", *map(str, arguments)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def search(self) -> RunInfo | None:
        return next(iter(open_tracking(self.settings).runs({"loop.kind": "search"}, 2)), None)

    def trials(self) -> list[RunInfo]:
        search = self.search()
        return open_tracking(self.settings).child_runs(search.run_id) if search else []

    def folds(self, trial: RunInfo) -> list[RunInfo]:
        return open_tracking(self.settings).child_runs(trial.run_id)

    def events(self) -> list[Event]:
        log = open_audit_log(self.settings)
        log.integrate()
        return [entry.event for entry in log.tail(1000)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder like a workspace's, with a snapshot and two folds."""
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the workers, for their job
    monkeypatch.chdir(tmp_path)
    snapshot = generated_snapshot(PATHS.snapshot, IMAGES)
    write_folds(PATHS.folds, snapshot, np.arange(IMAGES, dtype=np.int8) % FOLDS, k=FOLDS, seed=0)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    found = Place(tmp_path, load_settings())
    open_tracking(found.settings).prepare()
    yield found
    for process in marked_processes("SECONDLOOK_HOME", str(found.settings.home)):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def wait_until(happened: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def kill_trial_process(place: Place) -> None:
    """Not the driver, nor the folds': the one between them."""
    home = str(place.settings.home)
    found = [p for p in marked_processes("SECONDLOOK_HOME", home) if TRIAL in " ".join(p.cmdline())]
    assert len(found) == 1
    found[0].kill()


def test_a_search_is_killed_and_interrupted_and_goes_on(place: Place) -> None:
    process = place.start(4)
    wait_until(
        lambda: any("epoch" in fold.metrics for t in place.trials() for fold in place.folds(t)),
        process,
    )
    # However fast this machine is, the third one is still being trained when it is interrupted.
    only = place.settings.home / ONLY
    only.write_text(place.trials()[0].params["train.lr0"])
    kill_trial_process(place)
    wait_until(
        lambda: any("epoch" in fold.metrics for t in place.trials()[2:] for fold in place.folds(t)),
        process,
    )
    with pytest.raises(Conflict, match="still running"):
        _resume(place, 4)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    only.unlink()
    search = place.search()
    assert search is not None
    assert f"--resume {search.run_id[:8]}" in place.log()
    assert (search.status, search.tags["loop.stopped"]) == ("KILLED", "interrupted")
    before = place.trials()
    assert [trial.status for trial in before[2:]] == ["FAILED"]
    assert "RUNNING" not in {fold.status for trial in before for fold in place.folds(trial)}

    assert place.start(4, search.run_id[:8]).wait(PATIENCE_S) == 0
    assert place.search().status == "FINISHED"  # type: ignore[union-attr]
    after = place.trials()
    assert [trial.run_id for trial in after[:3]] == [trial.run_id for trial in before]
    assert [trial.tags["loop.trial"] for trial in after] == ["0", "1", "2", "3"]
    assert [len(place.folds(trial)) for trial in after] == [FOLDS] * 4
    _check_states(place, after)
    _check_curves(place, after)
    _check_results(place, after)
    _check_events(place)
    assert not list((place.settings.home / "training").iterdir())
    assert not marked_processes("SECONDLOOK_HOME", str(place.settings.home))

    # A search that is complete says again what came out of it, and trains nothing.
    result = _resume(place, None)
    assert [trial.run_id for trial in result.trials] == [trial.run_id for trial in after]
    assert len(place.trials()) == 4


def _resume(place: Place, trials: int | None) -> Any:
    return resume_search(
        place.settings,
        "last",
        workspace=place.folder,
        trials=trials,
        at_once=1,
        console=Console(quiet=True),
    )


def _check_states(place: Place, trials: list[RunInfo]) -> None:
    """With this seed the first one learns, the second one cannot, and one falls behind."""
    expected = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    states = [trial.tags["loop.trial_state"] for trial in trials]
    assert [trial.status for trial in trials] == [expected[state] for state in states]
    assert set(states) == set(expected)
    for trial in trials:
        assert trial.tags["loop.kind"] == "trial"
        folds = place.folds(trial)
        assert {fold.tags["loop.kind"] for fold in folds} == {"fold"}
        if trial.status == "FAILED":
            assert float(trial.params["train.lr0"]) > 0.5
            assert "not a number" in trial.tags["loop.failure"]
            assert {fold.status for fold in folds} == {"FAILED"}
        if trial.status == "KILLED":
            assert "other trials were better" in trial.tags["loop.stopped"]
            assert trial.metrics["epoch"] < EPOCHS
            assert "KILLED" in {fold.status for fold in folds}
        if trial.status == "FINISHED":
            assert {fold.status for fold in folds} == {"FINISHED"}
            mean = sum(fold.metrics["best_map50_95"] for fold in folds) / FOLDS
            assert trial.metrics["objective"] == pytest.approx(mean)
            assert trial.metrics["map50_95_mean"] == pytest.approx(mean)


def _check_curves(place: Place, trials: list[RunInfo]) -> None:
    """No step is doubled, however often a trial was begun."""
    tracking = open_tracking(place.settings)
    for trial in trials:
        if trial.status == "FINISHED":
            curve = tracking.metric_history(trial.run_id, "objective")
            assert [point.step for point in curve] == [*range(1, EPOCHS + 1)]
        for fold in place.folds(trial):
            steps = tracking.metric_steps(fold.run_id, "map50_95")
            assert steps == [*range(1, len(steps) + 1)]


def _check_results(place: Place, trials: list[RunInfo]) -> None:
    with (PATHS.search_runs / "search_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["mlflow_run_id"] for row in rows] == [trial.run_id for trial in trials]
    finished = [row for row in rows if row["state"] == "finished"]
    best = max(finished, key=lambda row: float(row["map50_95"]))
    nearest = min(finished, key=lambda row: abs(np.log(float(row["lr0"]) / BEST_LR0)))
    assert best == nearest
    written = yaml.safe_load((PATHS.search_runs / "best_params.yaml").read_text())
    assert written["train"] == {"lr0": float(best["lr0"]), "optimizer": best["optimizer"]}
    search = place.search()
    assert search is not None
    assert search.metrics["best_trial"] == float(best["trial"])
    artifacts = {path.name for path in Path(search.artifact_uri.removeprefix("file://")).iterdir()}
    assert artifacts == {
        "audit",
        "search.json",
        "search_results.csv",
        "plots.html",
        "best_params.yaml",
    }
    assert not list(place.settings.home.rglob("*.onnx"))


def _check_events(place: Place) -> None:
    types = [event.type for event in place.events()]
    assert types[0] == "search.started"
    assert types[-1] == "search.ended"
    assert types.count("search.ended") == 2
    assert types.count("search.resumed") == 1
    assert types.count("search_trial.started") == 4
    assert types.count("search_trial.resumed") == 2
    assert "model.registered" not in types


def test_a_search_that_cannot_train_is_given_up_and_says_why(place: Place) -> None:
    too_high = PARAMS | {"search": {"lr0": {"low": 0.6, "high": 0.9}}, "EPOCHS": 2}
    (place.folder / "params.yaml").write_text(yaml.safe_dump(too_high))
    assert place.start(9).wait(PATIENCE_S) == 1
    log = " ".join(place.log().split())
    assert "None of the 3 trials could be trained: Fold 0 failed: The loss is not a number" in log
    assert "Traceback" not in log
    search = place.search()
    assert search is not None
    assert search.status == "FAILED"
    assert "not a number" in search.tags["loop.failure"]
    assert {trial.status for trial in place.trials()} == {"FAILED"}
    assert not list((place.settings.home / "training").iterdir())


def test_what_is_no_search_cannot_be_resumed(place: Place) -> None:
    with pytest.raises(NotFound, match="no search 'last'"):
        _resume(place, None)

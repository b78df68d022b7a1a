from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from loop.errors import Conflict, NotEnoughData, NotFound
from loop.snapshots import Labels
from store.tracking import open_tracking
from tests.detector.checkpoints import write_checkpoint
from tests.train.conftest import CLASSES, Loop
from tests.train.test_gold import add_gold
from train.label_comparison import compare_labels
from train.paths import StagePaths

pytestmark = pytest.mark.slow  # loads models, and makes MLflow's database


def trained(
    state: Loop,
    folder: Path,
    labels: Labels,
    seed: int,
    *,
    name: str = "best.pt",
    names: tuple[str, ...] = CLASSES.names,
) -> Path:
    """Weights where the stage leaves them, with its summary."""
    runs = folder / StagePaths(labels).kfold_runs
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "summary.json").write_text(json.dumps({"mlflow_run_id": f"run-{labels.value}"}))
    made = write_checkpoint(
        folder / f"{seed}.pt",
        config_dir=state.settings.home / "ultralytics",
        seed=seed,
        names=names,
    )
    return made.rename(runs / name)


def test_both_kinds_are_measured_and_recorded_and_nothing_is_promoted(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 6)
    trained(loop_state, tmp_path, Labels.FIRST_REVIEWER, 1)
    trained(loop_state, tmp_path, Labels.ADJUDICATED, 2)
    final = trained(loop_state, tmp_path, Labels.ADJUDICATED, 3, name="final.pt")
    comparison, run_id = compare_labels(loop_state.settings, tmp_path)
    digest = hashlib.sha256(final.read_bytes()).hexdigest()
    assert comparison.adjudicated.model.digest == digest  # the final model where there is one
    assert comparison.runs == {
        "adjudicated": "run-adjudicated",
        "first_reviewer": "run-first_reviewer",
    }
    gain = comparison.adjudicated.map50_95 - comparison.first_reviewer.map50_95
    assert comparison.map50_95.estimate == pytest.approx(gain, abs=1e-12)
    (event,) = loop_state.events("labels.compared")
    assert event.details == json.loads(json.dumps(comparison.as_dict()))
    tracking = open_tracking(loop_state.settings)
    run = tracking.run(run_id)
    assert (run.status, run.tags["loop.kind"]) == ("FINISHED", "label_comparison")
    assert run.metrics["map50_95_gain"] == pytest.approx(gain)
    assert json.loads(tracking.read_text(run_id, "labels.json")) == event.details
    with loop_state.units() as uow:
        assert uow.promotions.list() == []


def test_the_command_says_which_kind_is_better_or_that_it_cannot(
    loop_state: Loop, tmp_path: Path
) -> None:
    add_gold(loop_state, 3)
    for seed, labels in enumerate(Labels):
        trained(loop_state, tmp_path, labels, seed + 1)
    done = CliRunner().invoke(app, ["models", "compare-labels"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "These gold images do not show which labels make the better model." in done.stdout
    done = CliRunner().invoke(app, ["models", "compare-labels", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["adjudicated"]["images"] == 3


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        (Labels.FIRST_REVIEWER, "dvc repro first_reviewer_kfold_model_training"),
        (Labels.ADJUDICATED, "dvc repro kfold_model_training"),
    ],
)
def test_a_kind_that_was_not_trained_is_named_with_the_stage_that_does(
    loop_state: Loop, tmp_path: Path, missing: Labels, stage: str
) -> None:
    for labels in Labels:
        if labels is not missing:
            trained(loop_state, tmp_path, labels, 1)
    with pytest.raises(NotFound, match="was trained in") as caught:
        compare_labels(loop_state.settings, tmp_path)
    assert caught.value.hint == stage


def test_models_of_other_classes_are_not_compared(loop_state: Loop, tmp_path: Path) -> None:
    trained(loop_state, tmp_path, Labels.FIRST_REVIEWER, 1, names=("cell",))
    trained(loop_state, tmp_path, Labels.ADJUDICATED, 2)
    with pytest.raises(Conflict, match="different classes"):
        compare_labels(loop_state.settings, tmp_path)


def test_without_a_gold_set_they_cannot_be_compared(loop_state: Loop, tmp_path: Path) -> None:
    for seed, labels in enumerate(Labels):
        trained(loop_state, tmp_path, labels, seed + 1)
    with pytest.raises(NotEnoughData, match="no gold set"):
        compare_labels(loop_state.settings, tmp_path)

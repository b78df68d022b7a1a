"""Results of folds as if they had been trained, in files and in a real MLflow."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from store.tracking import RunInfo
from tests.train.held_out import IMAGES, context_at, plan_of, trained_as
from train.detections_file import DETECTIONS_FILE
from train.error_examples import ERRORS_PAGE
from train.out_of_fold_file import OUT_OF_FOLD, read_out_of_fold
from train.publishing import CONFUSION_JSON, CURVES_CSV, FAILED_TAG, publish_results
from train.session import Context, Plan, Trained

pytestmark = pytest.mark.slow  # MLflow's database

ARTIFACTS = {OUT_OF_FOLD, CURVES_CSV, CONFUSION_JSON, "plots.html", ERRORS_PAGE}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return context_at(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def plan(context: Context, tmp_path: Path) -> Plan:
    return plan_of(context.snapshot, tmp_path / "out")


def run_of(context: Context, trained: Trained) -> RunInfo:
    return context.tracking.run(trained.record.run_id)


def artifacts(run: RunInfo) -> dict[str, Path]:
    folder = Path(run.artifact_uri.removeprefix("file://"))
    return {path.name: path for path in folder.iterdir()} if folder.exists() else {}


def test_a_cross_validation_leaves_everything_in_its_run_and_its_folder(
    context: Context, plan: Plan
) -> None:
    trained = trained_as(plan, context)
    publish_results(context, plan, trained)
    run = run_of(context, trained)
    assert FAILED_TAG not in run.tags
    kept = artifacts(run)
    assert set(kept) == ARTIFACTS
    here = {path.name for path in plan.out.iterdir() if path.is_file()}
    assert here == ARTIFACTS - {ERRORS_PAGE}  # images only where the models are
    seen = read_out_of_fold(kept[OUT_OF_FOLD])
    assert [image.row for image in seen.images] == list(range(IMAGES))
    assert seen.metadata["mlflow_run_id"] == run.run_id
    found = json.loads(kept[CONFUSION_JSON].read_text())
    boxes = sum(len(sample.boxes) for sample in context.snapshot.samples)
    assert sum(map(sum, found["counts"])) == boxes + IMAGES  # all found, and a false one on each
    assert found["labels"] == [*context.snapshot.classes, "background"]
    with kept[CURVES_CSV].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) % 101 == 0
    assert rows[0]["class"] in context.snapshot.classes


def test_a_single_training_leaves_its_validation_images(context: Context, plan: Plan) -> None:
    alone = replace(plan, kind="standard", splits=plan.splits[:1], one_run=True)
    trained = trained_as(alone, context)
    publish_results(context, alone, trained)
    run = run_of(context, trained)
    assert FAILED_TAG not in run.tags
    assert set(artifacts(run)) == ARTIFACTS
    seen = read_out_of_fold(artifacts(run)[OUT_OF_FOLD])
    assert tuple(image.row for image in seen.images) == plan.splits[0].val_rows


def test_no_image_is_drawn_when_that_is_turned_off(context: Context, plan: Plan) -> None:
    without = replace(context, settings=context.settings.model_copy(update={"log_examples": False}))
    trained = trained_as(plan, without)
    publish_results(without, plan, trained)
    assert set(artifacts(run_of(context, trained))) == ARTIFACTS - {ERRORS_PAGE}


def test_what_cannot_be_published_is_said_and_on_record_and_the_rest_goes_on(
    context: Context, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = trained_as(plan, context)
    (trained.outcomes[1].folder / DETECTIONS_FILE).unlink()
    (plan.out / "plots.html").mkdir()  # nothing can be written there
    publish_results(context, plan, trained)
    run = run_of(context, trained)
    assert run.tags[FAILED_TAG].startswith("out-of-fold predictions: ")
    assert "plots: IsADirectoryError" in run.tags[FAILED_TAG]
    assert "Warning: not published: out-of-fold predictions" in capsys.readouterr().out
    assert artifacts(run) == {}

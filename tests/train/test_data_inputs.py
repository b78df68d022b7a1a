"""Which data runs worked on, in a real MLflow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.train.held_out import FOLDS, IMAGES, context_at, plan_of, trained_as
from train.data_inputs import log_fold_inputs, log_snapshot_input
from train.session import Context, Plan, Trained

pytestmark = pytest.mark.slow  # MLflow's database


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return context_at(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def plan(context: Context, tmp_path: Path) -> Plan:
    return plan_of(context.snapshot, tmp_path / "out")


def logged(context: Context, plan: Plan) -> Trained:
    trained = trained_as(plan, context)
    log_snapshot_input(context, plan, trained.record)
    for outcome in trained.outcomes:
        log_fold_inputs(context, plan, trained.record, outcome.task)
    return trained


def inputs_of(context: Context, run_id: str) -> dict[str, Any]:
    """The data sets of a run, by what they are used for."""
    found = context.tracking.client.get_run(run_id).inputs.dataset_inputs
    return {tags_of(each)["mlflow.data.context"]: each for each in found}


def tags_of(used: Any) -> dict[str, str]:
    return {tag.key: tag.value for tag in used.tags}


def test_a_cross_validation_works_on_the_whole_snapshot(context: Context, plan: Plan) -> None:
    trained = logged(context, plan)
    (whole,) = inputs_of(context, trained.record.run_id).values()
    assert (whole.dataset.name, whole.dataset.digest) == (
        "adjudicated snapshot",
        context.snapshot.sha256[:36],
    )
    assert json.loads(whole.dataset.source)["uri"] == "data/snapshot"
    assert json.loads(whole.dataset.profile)["images"] == IMAGES
    tags = tags_of(whole)
    assert tags["loop.sha256"] == tags["loop.snapshot_sha256"] == context.snapshot.sha256
    assert (tags["loop.dvc_rev"], tags["loop.folds_sha256"]) == ("d" * 40, "a" * 64)


def test_each_fold_says_what_it_trains_and_validates_on(context: Context, plan: Plan) -> None:
    trained = logged(context, plan)
    digests = set()
    for outcome in trained.outcomes:
        told = inputs_of(context, outcome.task.run_id)
        assert set(told) == {"training", "validation"}
        profiles = {use: json.loads(each.dataset.profile) for use, each in told.items()}
        assert profiles["validation"]["images"] == IMAGES // FOLDS
        assert profiles["training"]["images"] == IMAGES - IMAGES // FOLDS
        for each in told.values():
            assert tags_of(each)["loop.sha256"][:36] == each.dataset.digest
            digests.add(each.dataset.digest)
    assert len(digests) == 2 * FOLDS


def test_a_single_training_has_both_in_its_own_run(context: Context, plan: Plan) -> None:
    alone = replace(plan, kind="standard", splits=plan.splits[:1], one_run=True)
    trained = logged(context, alone)
    assert set(inputs_of(context, trained.record.run_id)) == {"training", "validation"}

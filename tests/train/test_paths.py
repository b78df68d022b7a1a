from __future__ import annotations

from pathlib import Path

import yaml

from loop.snapshots import Labels
from train.params import Params, load_params
from train.paths import StagePaths

REPOSITORY = Path(__file__).parents[2]


def outs(stage: dict[str, list[object]]) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else str(out) for out in stage["outs"]]


def test_dvc_knows_the_paths_that_the_stages_use() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for labels in Labels:
        prefix = "" if labels is Labels.ADJUDICATED else "first_reviewer_"
        paths = StagePaths(labels)
        snapshot, split, folds = map(str, (paths.snapshot, paths.split, paths.folds))
        expected: dict[str, tuple[list[str], list[str]]] = {
            "data_collection": ([], [snapshot]),
            "data_formatting": ([snapshot], [split, str(paths.split_report)]),
            "model_training": ([snapshot, split], [str(paths.standard_runs)]),
            "kfold_data_formatting": ([snapshot], [folds, str(paths.folds_report)]),
            "kfold_model_training": ([snapshot, folds], [str(paths.kfold_runs)]),
        }
        for name, (deps, results) in expected.items():
            stage = stages[prefix + name]
            assert stage.get("deps", []) == deps
            assert outs(stage) == results


def test_the_parameters_of_the_pipeline_are_those_that_the_stages_know() -> None:
    written = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    assert set(written) == set(Params.model_fields)
    # A space to search is there to be changed; without one nothing is searched.
    assert load_params(REPOSITORY / "params.yaml").model_copy(update={"search": {}}) == Params()
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    used = {name for stage in stages.values() for name in stage.get("params", [])}
    assert used == set(written) - {"CPUS_PER_FOLD", "GPUS_PER_FOLD", "search"}

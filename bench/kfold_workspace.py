"""``python -m bench.kfold_workspace``: train all folds of the workspace that it is started in.

As the stage kfold_model_training does; what that does with the folds' models afterwards is no part
of the comparison. Nothing is imported but the product, since the time of that counts.
"""

from __future__ import annotations

from pathlib import Path

from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.indices import check_index, read_folds
from train.params import load_params
from train.paths import StagePaths
from train.session import Context, Plan, Split, training

_PATHS = StagePaths(Labels.ADJUDICATED)


def main() -> None:
    settings = load_settings()
    context = Context(
        settings=settings,
        params=load_params(),
        snapshot=open_snapshot(_PATHS.snapshot),
        units=open_units_of_work(settings),
        tracking=open_tracking(settings),
        registry=open_model_registry(settings),
        workspace=Path.cwd(),
    )
    folds = read_folds(_PATHS.folds)
    check_index(folds, context.snapshot)
    plan = Plan(
        kind="cv",
        noun="kfold",
        labels=Labels.ADJUDICATED,
        splits=tuple(
            Split(fold, tuple(folds.train_rows(fold)), tuple(folds.val_rows(fold)))
            for fold in range(folds.k)
        ),
        index_name="folds",
        index_sha256=folds.sha256,
        out=_PATHS.kfold_runs,
    )
    with training(plan, context) as trained:
        trained.record.end({})


if __name__ == "__main__":
    main()

"""Stage kfold_data_formatting: the fold of every image, as a column of indices."""

from __future__ import annotations

import sys

import numpy as np

from loop.events import Actor, Role
from loop.folds import assign_folds
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.settings import load_settings
from store.snapshot_files import Snapshot, open_snapshot
from store.unit_of_work import open_units_of_work
from train.indices import EXCLUDED_FOLD, GOLD_FOLD, FoldIndex, write_folds
from train.params import Params, load_params
from train.paths import StagePaths
from train.split_report import publish, report_of_folds
from train.splitting import (
    check_classes,
    check_sides,
    columns_to_split,
    crowded_groups,
    kinship,
    one_sided_classes,
    sort_out,
)
from train.stage import run_stage


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    params, settings, paths = load_params(), load_settings(), StagePaths(labels)
    fold_images(
        open_units_of_work(settings),
        open_snapshot(paths.snapshot),
        paths,
        params=params,
        actor=settings.acting(Role.ENGINEER),
    )


def fold_images(
    units: UnitsOfWork, snapshot: Snapshot, paths: StagePaths, *, params: Params, actor: Actor
) -> FoldIndex:
    """Write the folds of ``snapshot``, the report on them, and the audit event about them."""
    distance, k, seed = params.NEAR_DUPLICATE_DISTANCE, params.K_FOLDS, params.SEED
    kin = kinship(snapshot, distance)
    pool = sort_out(snapshot.samples, kin)
    folds = np.full(len(snapshot.samples), GOLD_FOLD, dtype=np.int8)
    folds[list(pool.excluded)] = EXCLUDED_FOLD
    folds[list(pool.trainable)] = assign_folds(
        *columns_to_split(snapshot.samples, pool.trainable, kin), k, seed
    )
    warnings = check_classes(snapshot, pool, kin, allow_rare=params.ALLOW_RARE_CLASSES)
    sides = [
        (np.flatnonzero((folds >= 0) & (folds != fold)), np.flatnonzero(folds == fold))
        for fold in range(k)
    ]
    splits = [(train.tolist(), val.tolist()) for train, val in sides]
    check_sides(snapshot, splits, kin)
    warnings += one_sided_classes(snapshot, splits)
    warnings += crowded_groups(snapshot, pool, kin, 1 / k)
    index = write_folds(paths.folds, snapshot, folds, k=k, seed=seed, distance=distance)
    publish(
        units,
        report_of_folds(snapshot, index, kin),
        paths.folds_report,
        type="folds.created",
        actor=actor,
        subject={
            "snapshot_sha256": snapshot.sha256,
            "folds_sha256": index.sha256,
            "k": k,
            "seed": seed,
        },
        title="Images and boxes of each fold",
        warnings=warnings,
    )
    return index


if __name__ == "__main__":
    sys.exit(run_stage(main, "kfold_data_formatting"))

"""Stage data_formatting: which images to train on, which to validate on, which are gold."""

from __future__ import annotations

import sys

from loop.events import Actor, Role
from loop.folds import split_train_val
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.settings import load_settings
from store.snapshot_files import Snapshot, open_snapshot
from store.unit_of_work import open_units_of_work
from train.indices import EXCLUDED, GOLD, TRAIN, VAL, SplitIndex, write_split
from train.params import Params, load_params
from train.paths import StagePaths
from train.split_report import publish, report_of_split
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
    split_images(
        open_units_of_work(settings),
        open_snapshot(paths.snapshot),
        paths,
        params=params,
        actor=settings.acting(Role.ENGINEER),
    )


def split_images(
    units: UnitsOfWork, snapshot: Snapshot, paths: StagePaths, *, params: Params, actor: Actor
) -> SplitIndex:
    """Write the split of ``snapshot``, the report on it, and the audit event about it."""
    distance, fraction, seed = params.NEAR_DUPLICATE_DISTANCE, params.VAL_FRACTION, params.SEED
    kin = kinship(snapshot, distance)
    pool = sort_out(snapshot.samples, kin)
    columns = columns_to_split(snapshot.samples, pool.trainable, kin)
    val = split_train_val(*columns, fraction, seed)
    warnings = check_classes(snapshot, pool, kin, allow_rare=params.ALLOW_RARE_CLASSES)
    part_of = (
        {row: VAL if to_val else TRAIN for row, to_val in zip(pool.trainable, val, strict=True)}
        | dict.fromkeys(pool.gold, GOLD)
        | dict.fromkeys(pool.excluded, EXCLUDED)
    )
    parts = [part_of[row] for row in range(len(snapshot.samples))]
    train_rows, val_rows = (
        [row for row in pool.trainable if parts[row] == part] for part in (TRAIN, VAL)
    )
    sides = [(train_rows, val_rows)]
    check_sides(snapshot, sides, kin)
    warnings += one_sided_classes(snapshot, sides)
    warnings += crowded_groups(snapshot, pool, kin, fraction)
    index = write_split(
        paths.split, snapshot, parts, val_fraction=fraction, seed=seed, distance=distance
    )
    publish(
        units,
        report_of_split(snapshot, index, kin),
        paths.split_report,
        type="split.created",
        actor=actor,
        subject={
            "snapshot_sha256": snapshot.sha256,
            "split_sha256": index.sha256,
            "val_fraction": fraction,
            "seed": seed,
        },
        title="Images and boxes of each part",
        warnings=warnings,
    )
    return index


if __name__ == "__main__":
    sys.exit(run_stage(main, "data_formatting"))

"""Stage data_formatting: which images to train on, which to validate on, which are gold."""

from __future__ import annotations

import sys
from pathlib import Path

from loop.folds import split_train_val
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.settings import load_settings
from store.snapshot_files import Snapshot, open_snapshot
from store.unit_of_work import open_units_of_work
from train.indices import EXCLUDED, GOLD, TRAIN, VAL, SplitIndex, write_split
from train.params import load_params
from train.paths import StagePaths
from train.splitting import columns_to_split, record, report_on, show, sort_out
from train.stage import run_stage


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    params, settings, paths = load_params(), load_settings(), StagePaths(labels)
    split_images(
        open_units_of_work(settings),
        open_snapshot(paths.snapshot),
        paths.split,
        val_fraction=params.VAL_FRACTION,
        seed=params.SEED,
        pseudonym=settings.actor,
    )


def split_images(
    units: UnitsOfWork,
    snapshot: Snapshot,
    path: Path,
    *,
    val_fraction: float,
    seed: int,
    pseudonym: str,
) -> SplitIndex:
    """Write the split of ``snapshot`` to ``path`` and the audit event about it."""
    pool = sort_out(snapshot.samples)
    val = split_train_val(*columns_to_split(snapshot.samples, pool.trainable), val_fraction, seed)
    part_of = (
        {row: VAL if to_val else TRAIN for row, to_val in zip(pool.trainable, val, strict=True)}
        | dict.fromkeys(pool.gold, GOLD)
        | dict.fromkeys(pool.excluded, EXCLUDED)
    )
    parts = [part_of[row] for row in range(len(snapshot.samples))]
    index = write_split(path, snapshot, parts, val_fraction=val_fraction, seed=seed)
    names = [TRAIN, VAL, GOLD, *([EXCLUDED] if pool.excluded else [])]
    report = report_on(snapshot, names, parts)
    show("Images and boxes of each part", snapshot, report, pool)
    subject = {
        "snapshot_sha256": snapshot.sha256,
        "split_sha256": index.sha256,
        "val_fraction": val_fraction,
        "seed": seed,
    }
    record(units, pseudonym, "split.created", subject, report)
    return index


if __name__ == "__main__":
    sys.exit(run_stage(main))

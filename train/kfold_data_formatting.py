"""Stage kfold_data_formatting: the fold of every image, as a column of indices."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from loop.folds import assign_folds
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.settings import load_settings
from store.snapshot_files import Snapshot, open_snapshot
from store.unit_of_work import open_units_of_work
from train.indices import EXCLUDED, EXCLUDED_FOLD, GOLD, GOLD_FOLD, FoldIndex, write_folds
from train.params import load_params
from train.paths import StagePaths
from train.splitting import columns_to_split, record, report_on, show, sort_out
from train.stage import run_stage


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    params, settings, paths = load_params(), load_settings(), StagePaths(labels)
    fold_images(
        open_units_of_work(settings),
        open_snapshot(paths.snapshot),
        paths.folds,
        k=params.K_FOLDS,
        seed=params.SEED,
        pseudonym=settings.actor,
    )


def fold_images(
    units: UnitsOfWork, snapshot: Snapshot, path: Path, *, k: int, seed: int, pseudonym: str
) -> FoldIndex:
    """Write the folds of ``snapshot`` to ``path`` and the audit event about them."""
    pool = sort_out(snapshot.samples)
    folds = np.full(len(snapshot.samples), GOLD_FOLD, dtype=np.int8)
    folds[list(pool.excluded)] = EXCLUDED_FOLD
    folds[list(pool.trainable)] = assign_folds(
        *columns_to_split(snapshot.samples, pool.trainable), k, seed
    )
    index = write_folds(path, snapshot, folds, k=k, seed=seed)
    said = {GOLD_FOLD: GOLD, EXCLUDED_FOLD: EXCLUDED}
    names = [*(str(fold) for fold in range(k)), GOLD, *([EXCLUDED] if pool.excluded else [])]
    parts = [said.get(fold, str(fold)) for fold in folds.tolist()]
    report = report_on(snapshot, names, parts)
    show("Images and boxes of each fold", snapshot, report, pool)
    subject = {
        "snapshot_sha256": snapshot.sha256,
        "folds_sha256": index.sha256,
        "k": k,
        "seed": seed,
    }
    record(units, pseudonym, "folds.created", subject, report)
    return index


if __name__ == "__main__":
    sys.exit(run_stage(main))

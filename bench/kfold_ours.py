"""Our cross-validation: all folds of a workspace, trained by `train.session.training`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.kfold_data import Data
from bench.kfold_usage import Usage, run
from loop.snapshots import Labels
from store.settings import load_settings
from train.paths import StagePaths


def train_side_by_side(data: Data, temporary: Path, log: Path) -> Usage:
    """Train all folds of the workspace; what it cost. Ray, too, writes to ``temporary``."""
    environment = os.environ | load_settings(data.home).environment() | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "bench.kfold_workspace"]
    return run(command, data.workspace, environment, log)


def best_weights(data: Data) -> list[Path]:
    runs = data.workspace / StagePaths(Labels.ADJUDICATED).kfold_runs
    return [runs / f"fold_{fold}" / "best.pt" for fold in range(data.folds.k)]

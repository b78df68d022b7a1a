"""first_reviewer_kfold_model_training: kfold_model_training with first answers as labels."""

from __future__ import annotations

import sys

from loop.snapshots import Labels
from train.kfold_model_training import main
from train.stage import run_stage

if __name__ == "__main__":
    sys.exit(run_stage(lambda: main(Labels.FIRST_REVIEWER), "first_reviewer_kfold_model_training"))

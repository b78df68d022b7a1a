"""first_reviewer_data_formatting: data_formatting with first answers as labels."""

from __future__ import annotations

import sys

from loop.snapshots import Labels
from train.data_formatting import main
from train.stage import run_stage

if __name__ == "__main__":
    sys.exit(run_stage(lambda: main(Labels.FIRST_REVIEWER), "first_reviewer_data_formatting"))

"""``python -m tests.train.light_final EPOCHS FOLDS``: folds and their refit, to be killed.

As `tests.train.light_session`; then ``final.json`` in the results' folder says what came of it.
"""

from __future__ import annotations

import json
import sys

from tests.train.light_job import light_fold
from tests.train.light_session import OUT, session
from train.final_model import final_model
from train.session import training
from train.stage import run_stage


def main(epochs: int, folds: int) -> None:
    plan, context = session(epochs, folds)
    with training(plan, context, job=light_fold) as trained:
        final = final_model(context, plan, trained, job=light_fold)
        (OUT / "final.json").write_text(json.dumps(final.as_dict()))
        trained.record.end({})


if __name__ == "__main__":
    sys.exit(run_stage(lambda: main(int(sys.argv[1]), int(sys.argv[2]))))

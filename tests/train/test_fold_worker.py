from __future__ import annotations

import os
import subprocess
import sys


def niceness_after(before: int) -> int:
    code = (
        "import os; from train.fold_worker import step_back; "
        f"os.nice({before}); step_back(); step_back(); print(os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_training_stands_behind_everything_else_and_never_before_where_it_was() -> None:
    own = os.nice(0)
    assert niceness_after(0) == max(own, 15)
    assert niceness_after(18 - own) == 18

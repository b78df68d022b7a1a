from __future__ import annotations

import os
import subprocess
import sys

import pytest


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has it")
def test_training_has_what_nobody_else_wants() -> None:
    """Only the thread that trains, and those that it starts: Ray's own answer as ever."""
    code = """if True:
        import os, threading
        from train.fold_worker import step_back
        from concurrent.futures import ThreadPoolExecutor as Pool

        def policy():
            return os.sched_getscheduler(0)

        def training():
            step_back(); step_back()
            with Pool(1) as own:
                return policy(), own.submit(policy).result()

        with Pool(1) as thread:
            print(*thread.submit(training).result(), policy())
    """
    assert printed(code) == f"{os.SCHED_IDLE} {os.SCHED_IDLE} {os.SCHED_OTHER}"


def niceness_after(before: int) -> int:
    return int(
        printed(f"""if True:
        import os
        from train.fold_worker import step_back

        def refuse(*_):
            raise PermissionError

        os.sched_setscheduler = refuse
        os.nice({before}); step_back(); step_back(); print(os.nice(0))
    """)
    )


def test_where_it_may_not_it_is_nice_and_never_before_where_it_was() -> None:
    own = os.nice(0)
    assert niceness_after(0) == max(own, 15)
    assert niceness_after(18 - own) == 18

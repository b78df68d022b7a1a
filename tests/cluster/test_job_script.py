"""Which Python a job from elsewhere runs by, and which Ray it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "job.sh"
COMMAND = ["sh", str(SCRIPT), "90.0", "train", "kfold", "A=b c"]
RAN = "-m cluster.job_runner - 90.0 {python} -m cluster.job_entry train kfold A=b c\n"
# As a raylet has the job's supervisor, and that one the shell.
SUPERVISED = "import subprocess, sys; subprocess.run({}, check=True)"


def interpreter(path: Path) -> Path:
    """One that says what it was called with."""
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\necho "$0" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def printed(command: list[str], path: Path) -> str:
    environment = {"PATH": f"{path}:{os.defpath}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("folder", ["venv", "my venv"])
def test_it_is_the_one_of_the_node_that_ray_runs_on(tmp_path: Path, folder: str) -> None:
    own = interpreter(tmp_path / folder / "bin" / "python")
    other = interpreter(tmp_path / "path" / "python")
    worker = subprocess.list2cmdline([str(own), "/ray/default_worker.py", "--node-ip-address=::1"])
    supervisor = [sys.executable, "-c", SUPERVISED.format(COMMAND)]
    raylet = [sys.executable, "-c", SUPERVISED.format(supervisor)]
    raylet += [f"--python_worker_command={worker}", "--temp_dir=/tmp/ray"]
    assert printed(raylet, other.parent) == f"{own} {RAN.format(python=own)}"


def test_or_else_that_of_the_path(tmp_path: Path) -> None:
    other = interpreter(tmp_path / "path" / "python")
    assert printed(COMMAND, other.parent) == f"{other} {RAN.format(python='python')}"


def test_a_job_is_told_the_ray_that_runs_it(tmp_path: Path) -> None:
    """And not another one of this machine, which Ray names to it where that was started later."""
    show = "import os; print(os.environ.get('RAY_ADDRESS'))"
    job = [sys.executable, "-m", "cluster.job_runner", "-", "5", sys.executable, "-c", show]
    raylet = [sys.executable, "-c", SUPERVISED.format(job), "--gcs-address=192.0.2.7:6379"]
    environment = os.environ | {"RAY_ADDRESS": "192.0.2.7:1", "PYTHONPATH": str(SCRIPT.parents[1])}
    for command, expected in ((raylet, "192.0.2.7:6379\n"), (job, "192.0.2.7:1\n")):
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        assert done.stdout == expected

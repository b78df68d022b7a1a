from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.kfold_usage import Usage, run, total

BURNT_S = 1.0
MISSED_S = 0.5  # what a process does after its last sample, on a busy machine
MB = 1_000_000

BURN = f"""
import time
while time.process_time() < {BURNT_S}:
    pass
"""
# Its child burns, and it waits for that.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
# The one in between ends at once; whoever holds the pipe open burns on without a parent.
ORPHANING = f"""
import os, subprocess, sys, time
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < {BURNT_S}:
            pass
    else:
        time.sleep(0.6)
    os._exit(0)
os.close(writing)
os.read(reading, 1)
"""
# Two children that have the parent's memory, and nothing of their own.
FORKING = """
import os, time
pages = bytearray(os.urandom(1_000_000)) * 100
for _ in range(2):
    if os.fork() == 0:
        break
time.sleep(3)
"""


def cost(program: str, folder: Path) -> Usage:
    return run([sys.executable, "-c", program], folder, os.environ, folder / "log.txt")


def test_cpu_time_of_children_counts(tmp_path: Path) -> None:
    assert cost(PARENT, tmp_path).cpu_seconds >= BURNT_S - MISSED_S


def test_cpu_time_of_orphans_counts(tmp_path: Path) -> None:
    assert cost(ORPHANING, tmp_path).cpu_seconds >= BURNT_S - MISSED_S


def test_memory_that_processes_share_counts_once(tmp_path: Path) -> None:
    assert 100 * MB < cost(FORKING, tmp_path).peak_memory_bytes < 180 * MB


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    cost("print('done')", tmp_path)
    assert (tmp_path / "log.txt").read_text() == "done\n"


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        cost("raise SystemExit(3)", tmp_path)


def test_costs_of_commands_add_up_and_their_peaks_do_not() -> None:
    assert total([Usage(1, 2, 30, 4, 50), Usage(5, 6, 7, 8, 9)]) == Usage(6, 8, 30, 12, 50)

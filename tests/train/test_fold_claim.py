from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loop.errors import TrainingFailed
from store.processes import ProcessRecord, find_process
from train.fold_claim import Claim, claimed, end_owner

ROOT = Path(__file__).parents[2]
# Holds the fold; with "elsewhere" as if on another machine, where nobody can kill it.
HOLDS = """
import json, sys, time
from pathlib import Path
from loop.errors import TrainingFailed
from train.fold_claim import claimed
folder = Path(sys.argv[1])
with claimed(folder) as claim:
    if sys.argv[2] == "elsewhere":
        owner = json.loads((folder / "owner.json").read_text())
        (folder / "owner.json").write_text(json.dumps(owner | {"host": "elsewhere"}))
    print("holds", flush=True)
    while True:
        try:
            claim.check()
        except TrainingFailed:
            if sys.argv[2] == "elsewhere":
                sys.exit(7)
        time.sleep(0.01)
"""


def holder(folder: Path, where: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), where],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_whoever_takes_over_has_killed_the_one_before(tmp_path: Path) -> None:
    process = holder(tmp_path, "here")
    with claimed(tmp_path) as claim:
        assert process.wait(0) == -9
        claim.check()
        owner = ProcessRecord.from_dict(json.loads((tmp_path / "owner.json").read_text()))
        assert owner == ProcessRecord.own()


def test_on_another_machine_the_one_before_gives_way_before_it_keeps_anything(
    tmp_path: Path,
) -> None:
    process = holder(tmp_path, "elsewhere")
    with claimed(tmp_path) as claim:
        assert process.wait(10) == 7
        claim.check()


def test_a_fold_can_be_claimed_again_by_the_same_process(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path):
            end_owner(tmp_path)  # does not end itself


def test_whoever_is_waited_for_must_not_go_on(tmp_path: Path) -> None:
    (tmp_path / "next.json").touch()
    with pytest.raises(TrainingFailed, match="taken this fold over"):
        Claim(tmp_path).check()


def test_an_owner_that_is_gone_or_another_process_by_now_is_left_alone(tmp_path: Path) -> None:
    end_owner(tmp_path)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (tmp_path / "owner.json").write_text(
            json.dumps({"pid": sleeper.pid, "started": 12.5, "host": ProcessRecord.own().host})
        )
        end_owner(tmp_path)
        assert sleeper.poll() is None
        assert find_process(sleeper.pid, 12.5) is None
    finally:
        sleeper.kill()
        sleeper.wait()

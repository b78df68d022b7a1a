from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from loop.errors import NotEnoughData
from train.stage import run_stage

REPOSITORY = Path(__file__).parents[2]


def test_an_error_of_the_loop_is_printed_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise NotEnoughData("Too few [images].", hint="Bring in more.")

    assert run_stage(fail) == 1
    assert capsys.readouterr().err == "Error: Too few [images].\n  Try: Bring in more.\n"


def test_a_mistake_in_the_code_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_stage(lambda: print(1 / 0))  # noqa: T201


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    assert run_stage(press) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_stage_that_works_ends_with_status_0() -> None:
    assert run_stage(lambda: None) == 0


def test_every_stage_of_the_pipeline_is_a_module_of_its_name() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert len(stages) == 10
    for name, stage in stages.items():
        assert stage["cmd"] == f"python -m train.{name}"
        assert (REPOSITORY / "train" / f"{name}.py").is_file()


@pytest.mark.parametrize("stage", ["data_collection", "first_reviewer_data_collection"])
def test_a_stage_without_data_ends_with_status_1_and_a_hint(tmp_path: Path, stage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"train.{stage}"],
        cwd=tmp_path,
        env={"SECONDLOOK_HOME": str(tmp_path / "var"), "PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "secondlook import" in done.stderr
    assert "Traceback" not in done.stderr

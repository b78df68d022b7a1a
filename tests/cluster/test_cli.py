from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from cluster import cli
from loop.events import Actor, Event, Role
from store.settings import load_settings
from store.unit_of_work import open_units_of_work

ROOT = Path(__file__).parents[2]


def run(*arguments: str, home: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        timeout=120,
        check=False,
    )


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:  # type: ignore[attr-defined]
                yield (*path, name), command
            yield from commands(command, *path, name)  # type: ignore[arg-type]
        else:
            yield (*path, name), command


ALL_COMMANDS = dict(commands(typer.main.get_command(cli.app)))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does_and_speaks_json(path: tuple[str, ...]) -> None:
    command = ALL_COMMANDS[path]
    assert command.help
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options or path == ("up",)  # which stays, and prints links for people


def test_an_error_says_what_to_do_and_exits_with_1(tmp_path: Path) -> None:
    done = run("models", "promote", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "Try: secondlook models list" in done.stderr


def test_an_error_is_json_for_machines(tmp_path: Path) -> None:
    done = run("models", "promote", "--json", home=tmp_path)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "message", "hint"}


def test_audit_verify_passes_then_fails_when_a_byte_changed(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    with open_units_of_work(settings)() as uow:
        uow.record(Event("test.happened", Actor("somebody", Role.SYSTEM), {"place": "here"}))
        uow.commit()
    done = run("audit", "verify", "--json", home=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["events"] == 1
    database = tmp_path / "secondlook.db"
    data = database.read_bytes()
    assert data.count(b'"place":"here"') == 1
    database.write_bytes(data.replace(b'"place":"here"', b'"place":"Here"'))
    done = run("audit", "verify", home=tmp_path)
    assert done.returncode == 1
    assert "Entry 0" in done.stderr


def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_API_PORT", "eighty")
    done = run("status", home=tmp_path)
    assert done.returncode == 1
    assert "SECONDLOOK_API_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_workspace_the_stages_say_where_to_go(tmp_path: Path) -> None:
    done = run("train", "kfold", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "secondlook init" in done.stderr


def test_the_demos_home_is_shown_where_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECONDLOOK_HOME", raising=False)
    with open_units_of_work(load_settings(tmp_path / "var" / "demo"))() as uow:
        uow.record(Event("test.happened", Actor("somebody", Role.SYSTEM), {}))
        uow.commit()
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "audit", "verify"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Verified: 1 events" in done.stdout
    assert "demo" in done.stderr


def test_the_readme_lists_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- commands -->\n(.*?)<!-- /commands -->", readme, re.DOTALL)
    assert block is not None
    command = r"^    secondlook ([a-z-]+(?: [a-z-]+){0,2})"
    listed = set(re.findall(command, block.group(1), re.MULTILINE))
    assert listed == {" ".join(path) for path in ALL_COMMANDS}


def test_every_command_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"secondlook ((?:[a-z]+ ?){1,2})", readme))
    known = {" ".join(path) for path in ALL_COMMANDS} | {path[0] for path in ALL_COMMANDS}
    for words in named:
        first, _, _ = words.strip().partition(" ")
        assert words.strip() in known or first in known, words

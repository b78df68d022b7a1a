"""The commands in compose.yaml and configs/kuberay/, given to the programs that they name."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from mlflow.cli import server

from cluster.cli import app
from tests.configs.manifests import KUBERAY, job

ROOT = Path(__file__).parents[2]


def parsed(command: list[str]) -> tuple[str, dict[str, object]]:
    """The command's name, and its options as its own parser reads them."""
    if command[:3] == ["python", "-m", "mlflow"]:
        assert command[3] == "server"
        return "mlflow", server.make_context("server", command[4:]).params
    assert command[0] == "secondlook"
    command_line: Any = typer.main.get_command(app)
    context = command_line.make_context("secondlook", command[1:])
    names = []
    while hasattr(command_line, "resolve_command"):
        words = [*context._protected_args, *context.args]
        name, command_line, rest = command_line.resolve_command(context, words)
        context = command_line.make_context(name, rest, parent=context)
        names.append(name)
    return " ".join(names), context.params


def commands_of(path: Path) -> Iterator[list[str]]:
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if manifest["kind"] == "Deployment":
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                yield container["command"]


def shell_words(script: str, environment: dict[str, str]) -> list[str]:
    """What a shell makes of a script that ends in `exec`."""
    print_words = script.replace("exec ", "printf '%s\\n' ", 1)
    done = subprocess.run(
        ["sh", "-c", print_words],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("environment", "logs"),
    [({}, []), ({"LOG_KEY": "a/log+1a2b3c4d+AbC="}, ["a/log+1a2b3c4d+AbC="])],
)
def test_the_witness_knows_the_log_once_its_key_is_set(
    environment: dict[str, str], logs: list[str]
) -> None:
    ((shell, flag, script),) = commands_of(KUBERAY / "base" / "witness.yaml")
    assert (shell, flag) == ("sh", "-c")
    name, options = parsed(shell_words(script, environment))
    assert name == "audit witness"
    assert list(options["log"] or []) == logs
    assert (options["host"], options["port"]) == ("0.0.0.0", 8266)  # noqa: S104


def test_mlflow_is_started_alike_in_both() -> None:
    (command,) = commands_of(KUBERAY / "base" / "mlflow.yaml")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    other = compose["services"]["mlflow"]["command"]
    (_, here), (_, there) = parsed(command), parsed(other)
    assert here | {"artifacts_destination": ""} == there | {"artifacts_destination": ""}
    assert there["artifacts_destination"] == "s3://second-look/mlflow"


@pytest.mark.parametrize(
    ("variable", "option", "value"),
    [
        ("MLFLOW_BACKEND_STORE_URI", "backend_store_uri", "postgresql+psycopg://db/mlflow"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "artifacts_destination", "s3://a-bucket/mlflow"),
        ("MLFLOW_SERVER_ALLOWED_HOSTS", "allowed_hosts", "mlflow:5001"),
    ],
)
def test_mlflow_reads_the_rest_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, option: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert parsed(["python", "-m", "mlflow", "server"])[1][option] == value


def test_the_app_is_a_module_that_can_be_run() -> None:
    (command,) = commands_of(KUBERAY / "base" / "app.yaml")
    assert command == ["python", "-m", "cluster.app"]
    assert 'if __name__ == "__main__":' in (ROOT / "cluster" / "app.py").read_text("utf-8")


def test_compose_starts_what_make_up_starts() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert parsed(compose["services"]["secondlook"]["command"])[0] == "up"


def test_a_job_trains_with_options_that_there_are() -> None:
    shell, flag, script = shlex.split(job()["spec"]["entrypoint"])
    assert (shell, flag) == ("sh", "-c")
    folder, command = script.split(" && ")
    assert folder == "cd /var/lib/secondlook/workspace"
    name, options = parsed(shlex.split(command))
    assert name == "train kfold"
    assert options["set"] == ["GPUS_PER_FOLD=1"]


def test_the_commands_of_the_documentation_are_there() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^    kubectl .* -- (secondlook .*?)(?: +[#>].*)?$", text)
    names = {parsed(shlex.split(line))[0] for line in lines}
    assert {"users add", "users token create", "audit key", "keys env", "models promote"} <= names


def test_the_files_that_the_documentation_names_are_there() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    for name in re.findall(r"configs/[\w./-]*\w|docs/[\w-]+\.md", text):
        assert (ROOT / name).exists(), name

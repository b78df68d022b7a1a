"""compose.yaml, as far as it can be tried without a container engine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from store.settings import Settings
from tests.configs.test_image import stages

ROOT = Path(__file__).parents[2]
SECRETS = {"POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}
OURS = ["secondlook", "mlflow"]
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)((?:[^{}]|\$\{[^{}]*\})*))?\}")


def interpolated(text: str, values: dict[str, str]) -> str:
    """``text`` with its variables as Compose puts them in."""

    def value(found: re.Match[str]) -> str:
        name, kind, other = found.groups()
        if values.get(name):
            return values[name]
        assert kind == ":-", f"{name} is missing: {other}"
        return interpolated(other, values)

    return _VARIABLE.sub(value, text)


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    values = example() | {name: f"a-{name.lower()}" for name in SECRETS}
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(interpolated(text, values))
    return found


def test_it_is_what_the_specification_allows(project: dict[str, Any]) -> None:
    PyCompose.from_yaml(yaml.safe_dump(project)).validate()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"port": ["5432:5432"]}, "port"),
        ({"ports": ["a-port:5432"]}, "port"),
        ({"networks": ["nowhere"]}, "nowhere"),
        ({"restart": "sometimes"}, "restart"),
    ],
)
def test_what_it_does_not_allow_is_found(wrong: dict[str, Any], said: str) -> None:
    changed = {"services": {"db": {"image": "postgres", **wrong}}}
    with pytest.raises(ValueError, match=said):
        PyCompose.from_yaml(yaml.safe_dump(changed)).validate()


def test_the_services_of_the_older_system_are_there(project: dict[str, Any]) -> None:
    assert set(project["services"]) == {"secondlook", "mlflow", "db", "db-admin", "s3"}


def test_secrets_have_no_default_and_no_value_in_the_example() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    found = {name: kind for name, kind, _ in _VARIABLE.findall(text)}
    assert {name for name, kind in found.items() if kind == ":?"} == SECRETS
    assert [name for name in SECRETS if example()[name]] == []
    with pytest.raises(AssertionError, match=r"is missing: see \.env\.example"):
        interpolated(text, example())


def test_every_variable_is_in_the_example_with_the_default_of_compose_yaml() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    names = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert names == set(example())
    for name, kind, default in _VARIABLE.findall(text):
        if kind == ":-" and "${" not in default:
            assert example()[name] == default


def test_git_does_not_take_the_file_with_the_secrets() -> None:
    done = subprocess.run(
        ["git", "check-ignore", ".env"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout.strip() == ".env"


def test_ports_are_on_loopback_alone(project: dict[str, Any]) -> None:
    ports = [port for each in project["services"].values() for port in each.get("ports", [])]
    assert len(ports) == len(set(ports)) >= 6
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_database_is_reached_from_inside_alone(project: dict[str, Any]) -> None:
    database = project["services"]["db"]
    assert "ports" not in database
    assert [name for name in database["networks"] if not project["networks"][name]] == []
    assert project["networks"][database["networks"][0]]["internal"]


@pytest.mark.parametrize("name", OURS)
def test_our_own_images_are_built_of_a_target_of_the_dockerfile(
    project: dict[str, Any], name: str
) -> None:
    service = project["services"][name]
    assert service["build"]["target"] in stages()


@pytest.mark.parametrize("name", OURS)
def test_our_own_parts_cannot_write_to_their_image(project: dict[str, Any], name: str) -> None:
    service = project["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    # HAProxy is started by a script there, and Docker's default is noexec.
    assert "/tmp:mode=1777,exec" in service["tmpfs"]  # noqa: S108


def test_every_part_is_pinned_and_gains_no_privileges(project: dict[str, Any]) -> None:
    for service in project["services"].values():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
        assert not service["image"].endswith(":latest")
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_second_look_reads_its_settings(
    project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in project["services"]["secondlook"]["environment"].items():
        monkeypatch.setenv(name, value)
        if name.startswith("SECONDLOOK_"):
            assert name.removeprefix("SECONDLOOK_").lower() in Settings.model_fields
    settings = Settings()
    assert settings.database.startswith("postgresql://secondlook:a-postgres_password@db:")
    assert settings.app_url == "http://localhost:7860"


def test_parts_ask_for_hosts_that_are_there_and_share_a_network(project: dict[str, Any]) -> None:
    services = project["services"]
    for name, service in services.items():
        text = str(service.get("environment", {}))
        for host in re.findall(r"(?:://|@)([a-z][\w-]*):\d", text):
            if host == "localhost":
                continue
            assert set(services[host]["networks"]) & set(service["networks"]), (name, host)


def test_what_is_waited_for_says_when_it_is_ready(project: dict[str, Any]) -> None:
    services = project["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]

"""The Dockerfile, as far as it can be tried without a container engine."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
FINAL = ["cpu", "cuda", "cpu-vm", "cuda-vm"]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions, those of the stages it is made from first."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            source, _, name = rest.partition(" AS ")
            found[name] = list(found.get(source, []))
        elif name:
            found[name].append((word, rest.strip()))
    return found


def last(stage: str, instruction: str) -> str:
    return [rest for word, rest in stages()[stage] if word == instruction][-1]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_runs_as_a_user_without_rights(stage: str) -> None:
    assert last(stage, "USER") == "1000:1000"


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_has_no_compiler_and_no_pip_of_its_own(stage: str) -> None:
    installed = " ".join(
        rest for word, rest in stages()[stage] if word == "RUN" and "apt-get" in rest
    )
    assert not re.search(r"\b(gcc|g\+\+|make|build-essential|python3-dev|curl)\b", installed)
    assert not any("pip install" in rest for word, rest in stages()[stage] if word == "RUN")
    copied = last(stage, "COPY")
    source = re.match(r"--from=(\S+) /opt/secondlook /opt/secondlook$", copied)
    assert source and last(source[1], "RUN").endswith("pip uninstall --yes pip")


@pytest.mark.parametrize("stage", FINAL)
def test_what_others_run_in_an_image_is_there(stage: str) -> None:
    installed = " ".join(rest for word, rest in stages()[stage] if word == "RUN").split()
    assert "wget" in installed  # KubeRay's probes
    assert "git" in installed  # DVC
    if stage.endswith("-vm"):  # Ray's launcher
        assert {"rsync", "openssh-client"} <= set(installed)


@pytest.mark.parametrize("stage", FINAL)
def test_no_entry_point_stands_before_what_ray_starts(stage: str) -> None:
    assert not [rest for word, rest in stages()[stage] if word == "ENTRYPOINT"]
    command = json.loads(last(stage, "CMD"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert command[0] in project["scripts"]
    assert command[1:] == ["up"]


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_says_what_it_is(stage: str) -> None:
    labels = dict(word.split("=", 1) for word in shlex.split(last(stage, "LABEL")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert labels["org.opencontainers.image.description"] == project["description"]
    version = next(rest for word, rest in stages()[stage] if rest.startswith("VERSION="))
    assert version == f"VERSION={project['version']}"


@pytest.mark.parametrize("stage", ["build-cpu", "build-cuda"])
def test_every_package_has_the_version_of_constraints_txt(stage: str) -> None:
    for word, rest in stages()[stage]:
        for command in rest.split("&&") if word == "RUN" else ():
            if "pip install" in command and "--no-deps ." not in command:
                assert "--constraint constraints.txt" in command


def test_the_requirements_are_those_of_the_project_and_of_the_chosen_extras() -> None:
    command = next(rest for word, rest in stages()["build"] if "requirements.txt" in rest)
    program = shlex.split(command.replace("${EXTRAS}", "gcp"))[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert done.stdout.split() == [*project["dependencies"], *extras["gcp"]]


def test_only_what_the_package_is_built_of_is_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_in = {line.removeprefix("!").split("/")[0] for line in lines if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]["packages"]["find"]["include"]
    for name in packages:
        assert [each for each in let_in if fnmatch.fnmatch(each, name)]
    assert not let_in & {".git", "var", "tests", ".env", "media", "data"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as the Dockerfile installs it: what .dockerignore lets through, as a wheel."""
    source, wheels, place = (tmp_path_factory.mktemp(name) for name in ("src", "whl", "site"))
    for name in sent_to_the_builder():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    # Without build isolation, which would fetch setuptools.
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", wheels, "."], check=True, cwd=source, timeout=200)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def sent_to_the_builder() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    ).stdout.splitlines()
    return [
        name
        for name in tracked
        if any(PurePath(name).match(each) or name.startswith(f"{each}/") for each in let_in)
    ]


@pytest.mark.parametrize("package", ["loop", "store", "ui", "configs"])
def test_every_file_of_a_package_is_in_the_image(installed: Path, package: str) -> None:
    wanted = [name for name in sent_to_the_builder() if name.startswith(f"{package}/")]
    assert wanted
    assert [name for name in wanted if not (installed / name).is_file()] == []


def run_installed(installed: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(installed),
            "SECONDLOOK_HOME": str(folder / "home"),
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_and_its_database_work_as_installed(
    installed: Path, tmp_path: Path
) -> None:
    found = run_installed(installed, tmp_path, "-m", "cluster.cli", "users", "list", "--json")
    assert json.loads(found) == []


def test_what_serves_is_imported_from_the_installed_package(
    installed: Path, tmp_path: Path
) -> None:
    found = run_installed(installed, tmp_path, "-c", "import serve.app; print(serve.app.__file__)")
    assert found.strip() == str(installed / "serve" / "app.py")

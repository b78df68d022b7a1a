"""The drill: a home is backed up by the commands of docs/operations.md, lost, and made again."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.postgres import BINARIES
from loop.agreement import Agreement
from loop.events import Event
from store.audit_log import open_audit_log
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.run_proofs import verify_run, verify_version
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from store.workspace import init_workspace
from tests.store.conftest import postgres
from tests.store.test_backup import image_in
from tests.store.test_unit_of_work import ACTOR, case, correction, prediction, snapshot
from tests.train.test_run_proofs import Trained, train_in

# The fixture of tests/store/conftest.py, for here.
__all__ = ["postgres"]

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
IMAGES = (b"first image", b"second image")


def commands(name: str) -> str:
    """The block of commands that docs/operations.md has under this mark."""
    found = re.search(rf"^<!-- drill: {name} -->\n\n((?:    .*\n)+)", TEXT, re.MULTILINE)
    assert found
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


class Operator:
    """Types commands in a shell in which `secondlook` and PostgreSQL's tools are found."""

    def __init__(self, folder: Path) -> None:
        self.backups = folder / "backups"
        self.backups.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "secondlook"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cluster.cli "$@"\n')
        program.chmod(0o755)
        self._path = os.pathsep.join([str(programs), str(BINARIES), os.environ["PATH"]])

    def types(self, lines: str, settings: Settings) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            env=os.environ
            | settings.environment()
            | {"PATH": self._path, "PYTHONPATH": str(ROOT), "BACKUPS": str(self.backups)}
            | {"SECONDLOOK_DATABASE_URL": settings.database_url, "MLFLOW_TRACKING_URI": ""},
            cwd=self.backups,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def lived_in(settings: Settings) -> Trained:
    """A home with a training, a model, images, answers, a snapshot and a workspace."""
    trained = train_in(settings)
    trained.registry.set_alias("champion", trained.model)
    init_workspace(settings.home / "workspace")
    (settings.home / "workspace" / "notes.txt").write_text("ours")
    with open_units_of_work(settings)() as uow:
        for number, data in enumerate(IMAGES):
            image = image_in(settings, data)
            uow.images.add(image)
            uow.predictions.add(replace(prediction(f"p{number}"), image_id=image.id))
            uow.cases.add(case(f"k{number}", f"p{number}", image_id=image.id))
        uow.snapshots.add(snapshot(2))
        uow.record(Event("test.happened", ACTOR, {}))
        uow.commit()
    open_audit_log(settings).integrate()
    return trained


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Callable[[], str]]:
    """Which it is, and what makes the URL of another empty one."""
    for name in ("MLFLOW_TRACKING_URI", "SECONDLOOK_DATABASE_URL", "SECONDLOOK_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "sqlite":
        return "sqlite", lambda: ""
    if not shutil.which("pg_dump", path=f"{BINARIES}{os.pathsep}{os.environ['PATH']}"):
        pytest.skip("pg_dump is not installed")
    make = request.getfixturevalue("postgres")
    return "postgresql", lambda: str(make("template0"))


def test_a_home_that_was_lost_is_made_again_and_goes_on(
    database: tuple[str, Callable[[], str]], tmp_path: Path
) -> None:
    kind, empty = database
    operator = Operator(tmp_path)
    settings = Settings(home=tmp_path / "old", database_url=empty())
    before = lived_in(settings)
    size = before.log.head().size
    operator.types(commands(f"{kind} backup"), settings)
    shutil.rmtree(settings.home)

    elsewhere = Settings(home=tmp_path / "new", database_url=empty())
    said = operator.types(commands(f"{kind} restore"), elsewhere)
    assert f"a log of {size} events" in said
    tracking, registry = open_tracking(elsewhere), open_model_registry(elsewhere)
    for run in (before.folds[0], before.record.run_id):
        verify_run(tracking, run, before.key)
    verify_version(tracking, registry, "1", before.key)
    registry.verify(before.model)
    (version,) = json.loads(operator.types("secondlook models list --json", elsewhere))
    assert version["version"] == "1"
    _check_data(elsewhere)
    _check_that_it_goes_on(elsewhere)


def _check_data(settings: Settings) -> None:
    images = open_image_store(settings)
    with open_units_of_work(settings)() as uow:
        for number, data in enumerate(IMAGES):
            assert images.get(uow.cases.get(f"k{number}").image_id) == data  # it checks the digest
        assert [each.sha256 for each in uow.snapshots.list()] == [snapshot(2).sha256]
    registry = open_model_registry(settings)
    assert registry.fetch(registry.resolve("champion")).read_bytes() == b"weights"
    workspace = settings.home / "workspace"
    assert (workspace / "notes.txt").read_text() == "ours"
    git = subprocess.run(
        ["git", "status", "--porcelain"], cwd=workspace, capture_output=True, text=True, check=True
    )
    assert git.stdout.split() == ["??", "notes.txt"]


def _check_that_it_goes_on(settings: Settings) -> None:
    log = open_audit_log(settings)
    size = log.head().size
    with open_units_of_work(settings)() as uow:
        answer = correction("c0", "k0", prediction_id="p0")
        uow.corrections.add(answer, Agreement())
        uow.record(Event("test.happened", ACTOR, {}))
        uow.commit()
    assert log.verify().size == size + 1
    assert "backup.restored" in {each.event.type for each in log.tail(20)}

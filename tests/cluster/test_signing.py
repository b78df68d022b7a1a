"""Signatures of registered models: on record, checked by anyone, and none around them."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster import cli, registering
from cluster.doctor import examine
from detector.loading import open_model
from loop.classes import ClassList
from loop.errors import BrokenRecord, InvalidInput
from loop.events import Actor, Event, Outcome, Role
from loop.predictions import ModelRef
from store.audit_log import open_audit_log
from store.model_keys import ModelKeys, open_model_keys
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.detector.checkpoints import NAMES, write_checkpoint, write_hostile

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database
ENGINEER = Actor("engineer-1", Role.ENGINEER)


@dataclass(frozen=True)
class Home:
    settings: Settings
    registry: ModelRegistry
    weights: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["--home", str(self.settings.home), *arguments])

    def events(self) -> list[Event]:
        return [entry.event for entry in open_audit_log(self.settings).tail(100)]

    def register(self) -> ModelRef:
        return registering.register(
            open_units_of_work(self.settings),
            self.registry,
            self.weights,
            config_dir=self.settings.home / "ultralytics",
            alias="candidate",
            actor=ENGINEER,
        )

    def artifacts(self, ref: ModelRef) -> Path:
        run = open_tracking(self.settings).run(self.registry.run_of(ref))
        return Path(run.artifact_uri.removeprefix("file://")) / "model"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    open_tracking(settings).prepare()
    weights = write_checkpoint(settings.home / "tiny.pt", config_dir=settings.home / "ultralytics")
    return Home(settings, open_model_registry(settings), weights)


@pytest.fixture
def ref(home: Home) -> ModelRef:
    """A version of its own for each test: what it does to the files stays with it."""
    return home.register()


def test_a_registration_is_signed_and_says_by_which_key(home: Home, ref: ModelRef) -> None:
    fingerprint = open_model_keys(home.settings).own_fingerprint()
    note = home.registry.signature_of(ref)
    assert note is not None
    assert note.key == fingerprint
    assert home.events()[-1].type == "model.registered"
    assert home.events()[-1].details["signature"] == note.as_dict()
    shown = json.loads(home.run("models", "show", ref.version, "--json").stdout)
    assert shown["signature"] == {"state": "signed", **note.as_dict()}
    found = {finding.what: finding for finding in examine(home.settings)}
    own = found["Model signing key"]
    assert (own.found, own.ok) == (fingerprint, True)
    assert found["Trusted model keys"].found == fingerprint


def test_the_doctor_advises_nothing_where_nothing_is_wrong(settings: Settings) -> None:
    done = CliRunner().invoke(cli.app, ["--home", str(settings.home), "doctor"])
    assert "none yet: made when" in done.stdout
    assert "chmod" not in done.stdout


def test_an_outsider_verifies_with_the_public_key_alone(
    home: Home, ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = shutil.copy(home.settings.home / "keys/models/signing.pub.pem", tmp_path / "p.pem")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.settings.tracking)
    outside = ["--home", str(tmp_path / "elsewhere"), "models", "verify", ref.version]
    done = CliRunner().invoke(cli.app, [*outside, "--key", str(public), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["files"]["artifacts/weights.pt"] == ref.digest == said["digest"]
    assert not (tmp_path / "elsewhere" / "keys").exists()
    ModelKeys(tmp_path / "other").signing_key()
    other = str(tmp_path / "other" / "signing.pub.pem")
    refused = CliRunner().invoke(cli.app, [*outside, "--key", other])
    assert isinstance(refused.exception, BrokenRecord)
    assert "not trusted" in str(refused.exception)


def test_a_changed_file_is_named_and_ends_with_exit_code_1(
    home: Home, ref: ModelRef, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = home.artifacts(ref) / "artifacts" / "weights.pt"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    arguments = ["--home", str(home.settings.home), "models", "verify", ref.version, "--json"]
    monkeypatch.setattr(sys, "argv", ["secondlook", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    said = capsys.readouterr()
    assert "artifacts/weights.pt has the digest" in said.out + said.err
    with pytest.raises(BrokenRecord, match=r"weights\.pt"):
        home.registry.fetch(ref)


def _unsign(home: Home, ref: ModelRef) -> None:
    """As versions are that were registered before there were signatures."""
    (home.artifacts(ref) / "model.sig").unlink()
    for tag in ("loop.signature.sha256", "loop.signature.key"):
        home.registry._client.delete_model_version_tag(ref.name, ref.version, tag)


def test_a_version_without_a_signature_is_not_loaded_until_it_is_signed(
    home: Home, ref: ModelRef
) -> None:
    _unsign(home, ref)
    shown = json.loads(home.run("models", "show", ref.version, "--json").stdout)
    assert shown["signature"]["state"] == "unsigned"
    with pytest.raises(BrokenRecord, match="no signature") as refusal:
        home.registry.fetch(ref)
    assert refusal.value.hint.endswith(f"secondlook models sign {ref.version}")
    done = home.run("models", "sign", ref.version, "--json")
    assert done.exit_code == 0, done.output
    home.registry.verify(ref)
    assert home.registry.fetch(ref).read_bytes() == home.weights.read_bytes()
    intent, signed = home.events()[-2:]
    assert (intent.type, intent.outcome) == ("model.signing", Outcome.INTENDED)
    assert (signed.type, signed.outcome) == ("model.signed", Outcome.DONE)
    assert signed.subject == {"model": ref.as_dict()}
    note: Any = home.registry.signature_of(ref)
    assert signed.details["signature"] == note.as_dict() == json.loads(done.stdout)["signature"]


def test_changed_files_are_not_signed_and_that_is_on_record(home: Home, ref: ModelRef) -> None:
    _unsign(home, ref)
    (home.artifacts(ref) / "artifacts" / "weights.pt").write_bytes(b"other weights")
    done = home.run("models", "sign", ref.version)
    assert isinstance(done.exception, BrokenRecord)
    assert home.registry.signature_of(ref) is None
    assert (home.events()[-1].type, home.events()[-1].outcome) == ("model.signed", Outcome.FAILED)


def test_a_hostile_pickle_is_neither_registered_nor_run(home: Home, tmp_path: Path) -> None:
    hostile, proof = tmp_path / "hostile.pt", tmp_path / "executed"
    write_hostile(hostile, proof)
    before = len(home.registry.versions())
    done = home.run("models", "register", str(hostile))
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.detail_code == "invalid_weights"
    assert done.exception.hint
    assert len(home.registry.versions()) == before
    assert not proof.exists()


def test_a_hostile_pickle_that_is_signed_runs_no_code_either(home: Home, tmp_path: Path) -> None:
    hostile, proof = tmp_path / "hostile.pt", tmp_path / "executed"
    write_hostile(hostile, proof)
    ref = home.registry.register(hostile, classes=ClassList(NAMES), run_id=None, tags={})
    files = home.registry.fetch_verified(ref, ["openvino", "onnx", "weights"], tmp_path / "own")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        open_model(files, min_confidence=0.25, nms_iou=0.6)
    assert not proof.exists()


def test_verified_files_open_as_a_model_and_may_go_then(
    home: Home, ref: ModelRef, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    files = home.registry.fetch_verified(ref, ["openvino", "onnx", "weights"], own)
    model = open_model(files, min_confidence=0.25, nms_iou=0.6)
    shutil.rmtree(own)
    assert model.classes.names == NAMES

"""Weights from outside, registered with their exports, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import cli, registering
from detector.exported import load_exported
from detector.formats import ExportFormat
from loop.events import Actor, Role
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.detector.checkpoints import NAMES, write_checkpoint


@pytest.mark.slow
def test_weights_from_outside_bring_their_exports(settings: Settings, tmp_path: Path) -> None:
    config_dir = settings.home / "ultralytics"
    weights = write_checkpoint(tmp_path / "tiny.pt", config_dir=config_dir)
    open_tracking(settings).prepare()
    registry = open_model_registry(settings)
    ref = registering.register(
        open_units_of_work(settings),
        registry,
        weights,
        config_dir=config_dir,
        alias="candidate",
        actor=Actor("engineer-1", Role.ENGINEER),
        exports=[ExportFormat.ONNX],
    )
    digests = registry.exports_of(ref)
    assert set(digests) == {"onnx"}
    folder = registry.fetch_export(ref, "onnx")
    assert load_exported(folder, min_confidence=0.25, nms_iou=0.6).classes.names == NAMES
    event = open_audit_log(settings).tail(1)[0].event
    assert event.type == "model.registered"
    note = registry.signature_of(ref)
    assert note is not None
    assert event.details == {
        "alias": "candidate",
        "exports": digests,
        "exports_refused": {},
        "signature": {"key": note.key, "sha256": note.sha256},
    }
    arguments = ["--home", str(settings.home), "models", "show", "candidate", "--json"]
    shown = CliRunner().invoke(cli.app, arguments)
    assert json.loads(shown.stdout)["exports"] == digests
    reference = json.loads(shown.stdout)["drift_reference"]
    assert reference["state"] == "no reference"
    assert "models measure 1" in reference["hint"]

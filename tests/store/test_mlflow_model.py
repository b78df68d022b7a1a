"""A registered model as MLflow loads and serves it, beside what our own detector says."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from detector.base import Detector
from detector.comparing import Tolerance, difference
from detector.exporting import export_model
from detector.formats import ExportFormat
from detector.yolo import load_detector
from loop.classes import ClassList
from loop.predictions import Detection
from store.image_codec import encode_png
from store.model_keys import ModelKeys
from store.model_registry import ModelRegistry
from store.tracking import Tracking
from tests.detector.checkpoints import NAMES, write_checkpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(5).integers(0, 256, (50, 90, 3), dtype=np.uint8)
IMAGE = base64.b64encode(encode_png(PIXELS)).decode()
_STARTS_WITHIN_S = 240


@dataclass(frozen=True)
class Home:
    folder: Path
    registry: ModelRegistry
    detector: Detector

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With a registered model: version 1 has exports, version 2 has the same weights and none."""
    folder = tmp_path_factory.mktemp("served")
    config_dir = folder / "ultralytics"
    weights = write_checkpoint(folder / "tiny.pt", config_dir=config_dir)
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    registry = ModelRegistry(tracking, folder / "cache", "detector", ModelKeys(folder / "keys"))
    exports = export_model(weights, ExportFormat, folder / "exports", config_dir=config_dir)
    for each in (exports.folders, {}):
        registry.register(weights, classes=ClassList(NAMES), run_id=None, tags={}, exports=each)
    detector = load_detector(weights, config_dir=config_dir, min_confidence=0.25, nms_iou=0.6)
    return Home(folder, registry, detector)


def assert_same(answer: list[dict[str, Any]], detector: Detector) -> None:
    (expected,) = detector.detect([PIXELS])
    assert expected
    assert {tuple(each) for each in answer} == {("box", "class_id", "class_name", "confidence")}
    assert all(each["class_name"] == NAMES[each["class_id"]] for each in answer)
    seen = [Detection.from_dict({"id": str(i)} | each) for i, each in enumerate(answer)]
    assert [d.confidence for d in seen] == sorted((d.confidence for d in seen), reverse=True)
    tolerance = Tolerance(box_px=0.05, confidence=0.001)
    found = difference(expected, seen, min_confidence=0.25, nms_iou=0.6, tolerance=tolerance)
    assert found.within(tolerance)


@pytest.mark.parametrize("backend", ["auto", "openvino", "onnx", "weights"])
def test_a_version_is_loaded_and_asked_in_process(home: Home, backend: str) -> None:
    from mlflow.pyfunc import load_model

    run_id = home.registry.versions()[0].run_id
    uri = f"{home.registry._tracking.run(run_id).artifact_uri}/model"
    model = load_model(uri, model_config={"backend": backend})
    answers = model.predict(pd.DataFrame({"image": [IMAGE, IMAGE]}))
    assert len(answers) == 2
    for answer in answers:
        assert_same(answer, home.detector)


def test_a_version_without_exports_runs_on_its_weights(home: Home) -> None:
    from mlflow.pyfunc import load_model

    run_id = home.registry.versions()[1].run_id
    model = load_model(f"{home.registry._tracking.run(run_id).artifact_uri}/model")
    (answer,) = model.predict(pd.DataFrame({"image": [IMAGE]}))
    assert_same(answer, home.detector)
    assert model.metadata.get_input_schema().input_names() == ["image"]
    assert model.metadata.metadata["classes"] == list(NAMES)


@pytest.mark.timeout(400)
def test_mlflow_serves_a_version(home: Home) -> None:
    with _served("models:/detector/1", home) as url:
        for body in (
            {"dataframe_split": {"columns": ["image"], "data": [[IMAGE], [IMAGE]]}},
            {"inputs": {"image": [IMAGE, IMAGE]}},
            {"inputs": [IMAGE, IMAGE]},
        ):
            answer = httpx.post(f"{url}/invocations", json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            answers = answer.json()["predictions"]
            assert len(answers) == 2
            for each in answers:
                assert_same(each, home.detector)
        body = {"inputs": {"image": [base64.b64encode(b"<svg/>").decode()]}}
        refused = httpx.post(f"{url}/invocations", json=body, timeout=60)
        assert refused.status_code == 400
        assert "InvalidImage" in refused.text
        assert httpx.get(f"{url}/ping", timeout=60).status_code == 200
    # MLflow opens an embedded version where it lies, and leaves files of its own there.
    assert home.registry.verify(home.registry.resolve("1")).files


@contextmanager
def _served(uri: str, home: Home) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (home.folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=_environment(home),
            cwd=home.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}", home.folder / "serve.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # the server is a child of it
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/ping", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"The server did not start: {log.read_text()[-3000:]}")


def _environment(home: Home) -> dict[str, str]:
    """As in a shell with the virtual environment activated."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": home.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }

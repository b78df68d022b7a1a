"""What a replica makes of a model version, without Ray."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from detector.exporting import Exports, export_model
from detector.formats import ExportFormat
from detector.loading import WEIGHTS
from detector.plan import candidates
from loop.errors import Unavailable
from loop.predictions import ModelRef
from serve import loading
from serve.loading import cores_of_a_replica, expected_plan, load_engine
from store.model_folder import file_digest, folder_digest
from store.settings import Settings
from tests.detector.checkpoints import NAMES, write_checkpoint

ONNX, OPENVINO = ExportFormat.ONNX, ExportFormat.OPENVINO


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.engine.has_gpu", lambda: False)


class Registry:
    """One version, with these files."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files
        self.ref = ModelRef("detector", "1", file_digest(files[WEIGHTS]))

    def fetch_verified(self, ref: ModelRef, names: Iterable[str], into: Path) -> dict[str, Path]:
        return {name: self._files[name] for name in names if name in self._files}

    def exports_of(self, ref: ModelRef) -> dict[str, str]:
        return {name: folder_digest(path) for name, path in self._files.items() if name != WEIGHTS}


def test_a_replica_has_what_it_reserves_or_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda: 8)
    assert cores_of_a_replica(Settings(home=tmp_path, replicas=2)) == 4
    assert cores_of_a_replica(Settings(home=tmp_path, replicas=2, max_replicas=3)) == 2
    assert cores_of_a_replica(Settings(home=tmp_path, replicas=16)) == 1
    assert cores_of_a_replica(Settings(home=tmp_path, replicas=2, serve_cpus=3)) == 3


def test_a_model_whose_export_fails_is_served_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    files = {WEIGHTS: tmp_path / "weights.pt"}

    def fail(*_: object, **__: object) -> Exports:
        raise Unavailable("The exporter crashed.")

    monkeypatch.setattr(loading, "exports_by_child", fail)
    assert loading.made_exports(settings, files) == {}
    refused = Exports({"onnx": tmp_path}, {"openvino": "other boxes"})
    monkeypatch.setattr(loading, "exports_by_child", lambda *_, **__: refused)
    assert loading.made_exports(settings, files) == {"onnx": tmp_path}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("model")
    weights = write_checkpoint(folder / "tiny.pt", config_dir=folder / "ultralytics")
    made = export_model(weights, [OPENVINO], folder, config_dir=folder / "ultralytics")
    return {WEIGHTS: weights, **made.folders}


@pytest.mark.slow
def test_who_serves_already_does_not_measure_and_who_starts_does_once(
    files: dict[str, Path], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, serve_cpus=2)
    registry = Registry(files)

    def load(measures: bool) -> float | None:
        engine = load_engine(settings, registry, registry.ref, measures=measures)  # type: ignore[arg-type]
        engine.close()
        assert engine.backend == "openvino"
        assert engine.plan == expected_plan(settings, registry, registry.ref)  # type: ignore[arg-type]
        return engine.plan.images_per_second

    assert load(measures=False) is None
    assert not settings.plans.exists()
    measured = load(measures=True)
    assert measured
    assert load(measures=False) == load(measures=True) == measured


@pytest.mark.slow
def test_weights_alone_are_exported_and_served_from_the_cache(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, serve_cpus=2)
    registry = Registry({WEIGHTS: files[WEIGHTS]})
    expected = expected_plan(settings, registry, registry.ref)  # type: ignore[arg-type]
    assert expected == candidates("openvino", 2)[0]
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    seen = []
    for _ in range(2):
        engine = load_engine(settings, registry, registry.ref, measures=True)  # type: ignore[arg-type]
        seen.append(engine.detect([image])[0])
        engine.close()
        assert (engine.backend, engine.classes.names) == ("openvino", NAMES)
        # The second time nothing is made.
        monkeypatch.setattr("detector.export_cache.subprocess", None)
    assert [each.box for each in seen[0]] == [each.box for each in seen[1]]
    assert seen[0]
    assert settings.export_cache.stat().st_mode & 0o077 == 0
    assert expected_plan(settings, registry, registry.ref).images_per_second  # type: ignore[arg-type]

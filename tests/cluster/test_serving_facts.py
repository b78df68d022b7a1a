from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster import doctor, serving_facts
from detector.plan import candidates, keep_plan
from loop.predictions import ModelRef
from serve.loading import cores_of_a_replica
from store.settings import Settings

MODEL = ModelRef("detector", "1", "a" * 64)


class Registry:
    def __init__(self, champion: ModelRef | None) -> None:
        self._champion = champion

    def find_alias(self, alias: str) -> ModelRef | None:
        return self._champion if alias == "champion" else None

    def exports_of(self, ref: ModelRef) -> dict[str, str]:
        return {"openvino": "b" * 64, "onnx": "c" * 64}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere")
    return Settings(home=tmp_path, serve_cpus=4, max_replicas=3)


def facts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, champion: ModelRef | None
) -> dict[str, str]:
    monkeypatch.setattr(serving_facts, "open_model_registry", lambda _: Registry(champion))
    return {
        finding.what: finding.found
        for finding in (doctor.Finding(*pair) for pair in serving_facts.serving_facts(settings))
    }


def test_cores_replicas_and_the_champions_plan_are_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.engine.has_gpu", lambda: False)
    monkeypatch.setattr(serving_facts, "usable_cores", lambda: 2)
    monkeypatch.setattr(serving_facts, "cpu_quota", lambda: 2.5)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    found = facts(settings, monkeypatch, MODEL)
    assert found["Cores"] == "2 usable of 8, control groups allow 2.5"
    assert found["Replicas"] == "1 to 3 x 4 cores"
    assert found["Champion's plan"] == (
        "openvino on 4 cores: 4 streams, 4 threads, 5 images at once, not measured yet"
    )
    plan = candidates("openvino", cores_of_a_replica(settings))[1]
    keep_plan(settings.plans, "b" * 64, replace(plan, images_per_second=12.5))
    found = facts(settings, monkeypatch, MODEL)
    assert found["Champion's plan"].endswith("3 images at once, 12.5 images/s measured")
    assert found["Batch size"].startswith("1, and 3 images at once")


def test_on_a_gpu_the_weights_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.engine.has_gpu", lambda: True)
    found = facts(settings, monkeypatch, MODEL)
    assert found["Champion's plan"].startswith("weights on 4 cores")
    assert found["Batch size"].startswith("up to 1:")


def test_without_a_champion_there_is_no_plan(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(facts(settings, monkeypatch, None)) == {"Cores", "Replicas"}

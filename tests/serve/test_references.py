from __future__ import annotations

from pathlib import Path

import pytest

from loop.errors import NotFound
from loop.predictions import ModelRef
from serve import references
from serve.metrics import Metrics
from serve.references import watch_drift
from store.settings import Settings, load_settings
from tests.serve.test_drift import reference
from tests.serve.test_metrics import ONE, samples


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(references, "open_model_registry", lambda _: None)
    monkeypatch.setattr(references, "open_tracking", lambda _: None)
    return load_settings(tmp_path)


def _watch(settings: Settings, metrics: Metrics) -> None:
    thread = watch_drift(settings, ONE, metrics)
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_a_model_with_a_reference_is_compared_with_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[ModelRef, float]] = []

    def read(_tracking: None, _registry: None, model: ModelRef, at_least: float) -> object:
        asked.append((model, at_least))
        return reference()

    monkeypatch.setattr(references, "read_reference", read)
    metrics = Metrics()
    _watch(settings, metrics)
    assert samples(metrics)["secondlook_drift_images{}"] == 0
    assert asked == [(ONE, settings.min_confidence)]


def test_a_model_without_one_serves_all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise NotFound("It was not measured on a gold set yet.")

    monkeypatch.setattr(references, "read_reference", read)
    metrics = Metrics()
    _watch(settings, metrics)
    assert "secondlook_drift_images{}" not in samples(metrics)


def test_the_settings_can_do_without(settings: Settings) -> None:
    assert watch_drift(settings.model_copy(update={"drift_images": 0}), ONE, Metrics()) is None

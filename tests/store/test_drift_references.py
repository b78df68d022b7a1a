from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.drift import MIN_DETECTIONS, Profile, Reference, profile_of, reference_path
from loop.errors import BrokenRecord, NotEnoughData, NotFound
from store.drift_references import keep_reference, read_reference
from store.model_keys import ModelKeys
from store.model_registry import ModelRegistry
from store.tracking import Tracking

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database
CLASSES = ClassList(("rod", "ring"))
AT_LEAST = 0.25


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    return tracking


@pytest.fixture
def registry(tracking: Tracking, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tracking, tmp_path / "cache", tmp_path.name, ModelKeys(tmp_path / "keys"))


def registered(registry: ModelRegistry, folder: Path, profile: Profile) -> Reference:
    weights = folder / "some.pt"
    weights.write_bytes(b"weights")
    ref = registry.register(weights, classes=CLASSES, run_id=None, tags={})
    return Reference(ref, "b" * 64, profile)


def profile(images: int, classes: tuple[str, ...] = CLASSES.names) -> Profile:
    return profile_of([([0, 1], [0.9, 0.5])] * images, classes, AT_LEAST)


def test_a_reference_is_kept_with_its_version_and_replaced_by_the_next(
    tracking: Tracking, registry: ModelRegistry, tmp_path: Path
) -> None:
    first = registered(registry, tmp_path, profile(MIN_DETECTIONS))
    with pytest.raises(NotFound, match="not measured"):
        read_reference(tracking, registry, first.model, AT_LEAST)
    keep_reference(tracking, registry, first)
    assert read_reference(tracking, registry, first.model, AT_LEAST) == first
    second = replace(first, profile=profile(2 * MIN_DETECTIONS))
    keep_reference(tracking, registry, second)
    assert read_reference(tracking, registry, first.model, AT_LEAST) == second


def test_what_cannot_be_compared_with_says_why(
    tracking: Tracking, registry: ModelRegistry, tmp_path: Path
) -> None:
    few = registered(registry, tmp_path, profile(MIN_DETECTIONS // 2 - 1))
    model = few.model
    keep_reference(tracking, registry, few)
    with pytest.raises(NotEnoughData, match=f"{MIN_DETECTIONS - 2} objects"):
        read_reference(tracking, registry, model, AT_LEAST)
    with pytest.raises(NotFound, match=r"from 0\.25, not 0\.5"):
        read_reference(tracking, registry, model, 0.5)
    keep_reference(tracking, registry, replace(few, profile=profile(400, ("rod", "ball"))))
    with pytest.raises(BrokenRecord, match="another model"):
        read_reference(tracking, registry, model, AT_LEAST)
    other = replace(few, model=replace(model, digest="c" * 64))
    run_id, path = registry.run_of(model), reference_path(model.version)
    tracking.log_text(run_id, other.to_json().decode(), path)
    with pytest.raises(BrokenRecord, match="another model"):
        read_reference(tracking, registry, model, AT_LEAST)
    tracking.log_text(run_id, "{}", path)
    with pytest.raises(BrokenRecord, match="Not a reference"):
        read_reference(tracking, registry, model, AT_LEAST)

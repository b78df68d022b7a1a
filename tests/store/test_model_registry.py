from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.errors import BrokenRecord, NotFound
from loop.predictions import ModelRef
from store.model_registry import ModelRegistry
from store.tracking import EXPERIMENT, Tracking

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database
CLASSES = ClassList(("red cell", "weiße Zelle"))


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One for all tests, each with a model of its own: making its database takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    return tracking


@pytest.fixture
def registry(tracking: Tracking, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tracking, tmp_path / "cache", tmp_path.name)


def register(registry: ModelRegistry, tmp_path: Path, content: bytes = b"weights") -> ModelRef:
    weights = tmp_path / "some.pt"
    weights.write_bytes(content)
    return registry.register(weights, classes=CLASSES, run_id=None, tags={"loop.seed": "1"})


def _artifact(registry: ModelRegistry) -> Path:
    """Where MLflow keeps the weights of the only version."""
    run = registry._tracking.run(registry.versions()[0].run_id)
    return Path(run.artifact_uri.removeprefix("file://")) / "model" / "weights.pt"


def test_an_empty_registry_has_nothing(registry: ModelRegistry) -> None:
    assert registry.versions() == []
    assert registry.find_alias("champion") is None
    with pytest.raises(NotFound, match="champion"):
        registry.resolve("champion")
    with pytest.raises(NotFound, match="version 1"):
        registry.resolve("1")


def test_a_registered_model_comes_back_as_it_was(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    assert ref == ModelRef(registry.name, "1", hashlib.sha256(b"weights").hexdigest())
    assert registry.fetch(ref).read_bytes() == b"weights"
    assert registry.classes_of(ref) == CLASSES
    assert registry.resolve("1") == ref


def test_a_version_names_its_run_tags_and_time(registry: ModelRegistry, tmp_path: Path) -> None:
    register(registry, tmp_path)
    version = registry.versions()[0]
    assert version.tags["loop.seed"] == "1"
    assert version.created_at.endswith("Z")
    assert registry._tracking.run(version.run_id).tags["loop.kind"] == "import"


def test_weights_of_a_training_stay_with_its_run(registry: ModelRegistry, tmp_path: Path) -> None:
    run_id = registry._tracking.start_run(EXPERIMENT, "cv", tags={}, params={})
    weights = tmp_path / "best.pt"
    weights.write_bytes(b"trained")
    ref = registry.register(weights, classes=CLASSES, run_id=run_id, tags={})
    assert registry.versions()[0].run_id == run_id
    assert registry.run_of(ref) == run_id
    assert registry._tracking.run(run_id).status == "RUNNING"
    assert registry.fetch(ref).read_bytes() == b"trained"


def test_an_alias_moves_and_goes(registry: ModelRegistry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path), register(registry, tmp_path, b"better")
    registry.set_alias("champion", first)
    registry.set_alias("champion", second)
    registry.set_alias("previous", first)
    assert registry.resolve("champion") == second
    assert [version.aliases for version in registry.versions()] == [("previous",), ("champion",)]
    registry.delete_alias("champion")
    registry.delete_alias("champion")
    assert registry.find_alias("champion") is None


def test_fetched_weights_are_kept_by_their_digest(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    path = registry.fetch(ref)
    assert path == tmp_path / "cache" / f"{ref.digest}.pt"
    _artifact(registry).unlink()
    assert registry.fetch(ref) == path


def test_changed_weights_are_not_handed_out(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    _artifact(registry).write_bytes(b"tampered")
    with pytest.raises(BrokenRecord, match="digest"):
        registry.fetch(ref)
    assert not list((tmp_path / "cache").glob("*.pt"))


def test_a_damaged_cache_is_fetched_anew(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    registry.fetch(ref).write_bytes(b"half a fi")
    assert registry.fetch(ref).read_bytes() == b"weights"


def test_a_file_that_is_not_there_cannot_be_registered(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match=r"missing\.pt"):
        registry.register(tmp_path / "missing.pt", classes=CLASSES, run_id=None, tags={})
    assert registry.versions() == []


def test_a_version_that_someone_else_registered_is_pointed_out(registry: ModelRegistry) -> None:
    run_id = registry._tracking.start_run(EXPERIMENT, "x", tags={}, params={})
    client = registry._tracking.client
    client.create_registered_model(registry.name)
    client.create_model_version(registry.name, "file:///nowhere", run_id)
    with pytest.raises(BrokenRecord, match=r"loop\.sha256"):
        registry.resolve("1")

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from loop.classes import ClassList
from loop.errors import BrokenRecord, NotFound, Unavailable
from loop.predictions import ModelRef
from store.model_files import SIGNATURE_TAG, SignatureNote
from store.model_folder import folder_digest
from store.model_keys import ModelKeys
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
    return open_registry(tracking, tmp_path)


def open_registry(tracking: Tracking, tmp_path: Path, keys: str = "keys") -> ModelRegistry:
    return ModelRegistry(tracking, tmp_path / "cache", tmp_path.name, ModelKeys(tmp_path / keys))


def register(registry: ModelRegistry, tmp_path: Path, content: bytes = b"weights") -> ModelRef:
    weights = tmp_path / "some.pt"
    weights.write_bytes(content)
    return registry.register(weights, classes=CLASSES, run_id=None, tags={"loop.seed": "1"})


def _artifact(registry: ModelRegistry) -> Path:
    """Where MLflow keeps the weights of the only version."""
    run = registry._tracking.run(registry.versions()[0].run_id)
    return Path(run.artifact_uri.removeprefix("file://")) / "model/artifacts/weights.pt"


def _model(registry: ModelRegistry) -> Path:
    return _artifact(registry).parents[1]


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


def test_a_fetched_version_is_kept_and_needs_mlflow_no_more(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register(registry, tmp_path)
    path = registry.fetch(ref)
    assert path.is_relative_to(tmp_path / "cache")
    shutil.rmtree(_model(registry))
    offline = ModelRegistry(
        Tracking("http://127.0.0.1:1", tmp_path / "none"),
        tmp_path / "cache",
        registry.name,
        ModelKeys(tmp_path / "keys"),
    )
    assert offline.fetch(ref) == path
    assert path.read_bytes() == b"weights"


def test_changed_weights_are_not_handed_out(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    _artifact(registry).write_bytes(b"tampered")
    with pytest.raises(BrokenRecord, match=r"weights\.pt has the digest"):
        registry.fetch(ref)
    assert not list((tmp_path / "cache").iterdir())


def test_a_damaged_cache_is_fetched_anew(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    registry.fetch(ref).write_bytes(b"half a fi")
    assert registry.fetch(ref).read_bytes() == b"weights"


def _exports(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "made" / "openvino"
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("<net/>")
    (folder / "model.bin").write_bytes(b"numbers")
    return {"openvino": folder}


def register_exported(registry: ModelRegistry, tmp_path: Path) -> ModelRef:
    weights = tmp_path / "some.pt"
    weights.write_bytes(b"weights")
    return registry.register(
        weights, classes=CLASSES, run_id=None, tags={}, exports=_exports(tmp_path)
    )


def test_an_export_comes_back_as_it_was_and_is_kept(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register_exported(registry, tmp_path)
    folder = registry.fetch_export(ref, "openvino")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "model.xml": b"<net/>",
        "model.bin": b"numbers",
    }
    assert registry.exports_of(ref) == registry.versions()[0].exports
    assert registry.exports_of(ref) == {"openvino": folder_digest(folder)}
    shutil.rmtree(_model(registry))
    assert registry.fetch_export(ref, "openvino") == folder


def test_the_digest_of_an_export_is_that_of_what_sha256sum_prints(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register_exported(registry, tmp_path)
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("model.bin", b"numbers"), ("model.xml", b"<net/>"))
    ]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert registry.exports_of(ref) == {"openvino": digest}


def test_a_version_without_that_export_says_so(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register(registry, tmp_path)
    assert registry.exports_of(ref) == {}
    with pytest.raises(NotFound, match="no export to onnx"):
        registry.fetch_export(ref, "onnx")


def test_a_changed_export_is_not_handed_out(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register_exported(registry, tmp_path)
    (_artifact(registry).parent / "openvino" / "model.bin").write_bytes(b"tampered")
    with pytest.raises(BrokenRecord, match=r"openvino/model\.bin has the digest"):
        registry.fetch_export(ref, "openvino")
    assert not list((tmp_path / "cache").rglob("model.*"))


def test_a_damaged_export_in_the_cache_is_fetched_anew(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register_exported(registry, tmp_path)
    (registry.fetch_export(ref, "openvino") / "model.xml").unlink()
    assert (registry.fetch_export(ref, "openvino") / "model.xml").read_text() == "<net/>"


def test_a_version_from_before_there_were_folders_is_fetched_once_it_is_signed(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    client = registry._tracking.client
    run_id = registry._tracking.start_run(EXPERIMENT, "cv", tags={}, params={})
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"earlier")
    registry._tracking.log_file(run_id, weights, "model")
    client.create_registered_model(registry.name)
    source = f"{registry._tracking.run(run_id).artifact_uri}/model"
    digest = hashlib.sha256(b"earlier").hexdigest()
    client.create_model_version(registry.name, source, run_id, tags={"loop.sha256": digest})
    ref = registry.resolve("1")
    assert registry.signature_of(ref) is None
    with pytest.raises(BrokenRecord, match="no signature") as refusal:
        registry.fetch(ref)
    assert "secondlook models sign 1" in refusal.value.hint
    signed, made = registry.sign(ref)
    assert made
    assert registry.fetch(ref).read_bytes() == b"earlier"
    assert registry.exports_of(ref) == {}
    assert registry.versions()[0].signature == registry.signature_of(ref)
    assert registry.signature_of(ref) == SignatureNote(signed.key, signed.sha256)


def test_what_serves_gets_copies_of_its_own(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register_exported(registry, tmp_path)
    into = tmp_path / "own"
    files = registry.fetch_verified(ref, ["openvino", "onnx", "weights"], into)
    assert files.keys() == {"openvino", "weights"}
    assert all(path.is_relative_to(into) for path in files.values())
    assert files["weights"].read_bytes() == b"weights"
    assert {path.name for path in files["openvino"].iterdir()} == {"model.xml", "model.bin"}
    with pytest.raises(NotFound, match="none of onnx"):
        registry.fetch_verified(ref, ["onnx"], tmp_path / "more")


def test_a_version_is_signed_when_it_is_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register_exported(registry, tmp_path)
    note = registry.signature_of(ref)
    assert note is not None
    assert note.key == ModelKeys(tmp_path / "keys").own_fingerprint()
    assert registry.trusts(note.key)
    signed = registry.verify(ref)
    assert (signed.key, signed.sha256) == (note.key, note.sha256)
    assert {path for path in signed.files if path.startswith("artifacts")} == {
        "artifacts/weights.pt",
        "artifacts/openvino/model.xml",
        "artifacts/openvino/model.bin",
    }
    assert "MLmodel" in signed.files
    assert registry.sign(ref) == (signed, False)


def test_what_was_put_into_the_artifacts_is_found_and_not_signed_over(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register(registry, tmp_path)
    added = _model(registry) / "artifacts" / "onnx"
    added.mkdir()
    (added / "model.onnx").write_bytes(b"not ours")
    for use in (registry.fetch, registry.verify, registry.sign):
        with pytest.raises(BrokenRecord, match=r"artifacts/onnx/model\.onnx was added"):
            use(ref)
    shutil.rmtree(added)
    assert registry.sign(ref)[1] is False


def test_changed_weights_are_not_signed(registry: ModelRegistry, tmp_path: Path) -> None:
    ref = register_exported(registry, tmp_path)
    (_model(registry) / "model.sig").unlink()
    with pytest.raises(BrokenRecord, match="no signature"):
        registry.fetch(ref)
    (_artifact(registry).parent / "openvino" / "model.bin").write_bytes(b"tampered")
    with pytest.raises(BrokenRecord, match="for openvino have the digest"):
        registry.sign(ref)
    _artifact(registry).write_bytes(b"tampered")
    with pytest.raises(BrokenRecord, match=r"The weights of .* have the digest"):
        registry.sign(ref)
    assert not (_model(registry) / "model.sig").exists()


def test_signatures_of_two_versions_cannot_be_exchanged(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    run_id = registry._tracking.start_run(EXPERIMENT, "cv", tags={}, params={})
    refs = []
    for content in (b"one", b"two"):
        (tmp_path / "final.pt").write_bytes(content)
        weights = tmp_path / "final.pt"
        refs.append(registry.register(weights, classes=CLASSES, run_id=run_id, tags={}))
    other = _model(registry).with_name(f"model-{refs[1].digest[:12]}")
    shutil.copyfile(_model(registry) / "model.sig", other / "model.sig")
    with pytest.raises(BrokenRecord, match="another version"):
        registry.fetch(refs[1])


def test_a_version_by_an_earlier_key_is_signed_anew(
    tracking: Tracking, registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register(registry, tmp_path)
    earlier = registry.signature_of(ref)
    registry.fetch(ref)  # what is in the cache then has the earlier signature
    later = open_registry(tracking, tmp_path, "keys-2")
    ModelKeys(tmp_path / "keys-2").signing_key()
    assert earlier is not None
    for use in (later.fetch, later.verify):
        with pytest.raises(BrokenRecord, match=earlier.key[:16]):
            use(ref)
    assert registry.verify(ref).key == earlier.key
    signed, made = later.sign(ref)
    assert made
    assert later.fetch(ref).read_bytes() == b"weights"
    assert later.verify(ref) == signed
    assert later.signature_of(ref) == SignatureNote(signed.key, signed.sha256)
    with pytest.raises(BrokenRecord, match=signed.key[:16]):
        registry.verify(ref)


def test_a_signature_that_is_not_on_record_is_pointed_out_and_can_be_put_there(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    ref = register(registry, tmp_path)
    registry._client.set_model_version_tag(ref.name, ref.version, SIGNATURE_TAG, "0" * 64)
    with pytest.raises(BrokenRecord, match="not the one that the registry knows"):
        registry.verify(ref)
    assert registry.sign(ref)[1]
    registry.verify(ref)


def test_a_run_registers_a_model_once_and_another_one_beside_it(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    run_id = registry._tracking.start_run(EXPERIMENT, "cv", tags={}, params={})

    def again(content: bytes) -> ModelRef:
        weights = tmp_path / "final.pt"
        weights.write_bytes(content)
        return registry.register(weights, classes=CLASSES, run_id=run_id, tags={})

    first = again(b"one")
    assert again(b"one") == first
    second = again(b"two")
    assert [version.ref for version in registry.versions()] == [first, second]
    assert registry.fetch(first).read_bytes() == b"one"
    assert registry.fetch(second).read_bytes() == b"two"


def test_without_all_its_files_there_is_no_version(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("No space left on device.")

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "log_folder", full)
        with pytest.raises(Unavailable):
            register(registry, tmp_path)
    assert registry.versions() == []
    (failed,) = registry._tracking.runs({"loop.kind": "import"}, limit=1)
    assert failed.status == "FAILED"
    assert register(registry, tmp_path).version == "1"


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

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detector import export_cache
from detector.export_cache import cached_exports, exports_by_child, kept_exports, worth_making
from detector.exporting import Exports
from detector.formats import INT8, ExportFormat
from detector.loading import WEIGHTS
from loop.errors import Misconfigured, Unavailable
from store.model_folder import file_digest

ONNX, OPENVINO = ExportFormat.ONNX, ExportFormat.OPENVINO


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The formats of each export that is made. OpenVINO is always refused."""
    made: list[list[str]] = []

    def export(weights: Path, formats: list[ExportFormat], out: Path, **_: object) -> Exports:
        made.append([str(each) for each in formats])
        folders = {}
        if ONNX in formats:
            folders["onnx"] = out / "onnx"
            folders["onnx"].mkdir()
            (folders["onnx"] / ONNX.file).write_bytes(weights.read_bytes())
        return Exports(folders, {"openvino": "other boxes"} if OPENVINO in formats else {})

    monkeypatch.setattr(export_cache, "export_model", export)
    return made


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    return file


def test_weights_are_exported_once_and_what_is_refused_is_not_tried_again(
    weights: Path, tmp_path: Path, calls: list[list[str]]
) -> None:
    cache = tmp_path / "cache"
    first = cached_exports(weights, [ONNX], cache, config_dir=tmp_path)
    assert (first.folders["onnx"] / ONNX.file).read_bytes() == b"weights"
    both = cached_exports(weights, ExportFormat, cache, config_dir=tmp_path)
    assert both == Exports(first.folders, {"openvino": "other boxes"})
    assert cached_exports(weights, ExportFormat, cache, config_dir=tmp_path) == both
    assert calls == [["onnx"], ["openvino"]]
    weights.write_bytes(b"others")
    other = cached_exports(weights, [ONNX], cache, config_dir=tmp_path)
    assert (other.folders["onnx"] / ONNX.file).read_bytes() == b"others"
    assert len(calls) == 3


def test_a_changed_file_is_made_anew(weights: Path, tmp_path: Path, calls: list[list[str]]) -> None:
    for damage in (b"", b"changed"):
        made = cached_exports(weights, [ONNX], tmp_path / "cache", config_dir=tmp_path)
        file = made.folders["onnx"] / ONNX.file
        assert file.read_bytes() == b"weights"
        file.write_bytes(damage)
    assert len(calls) == 2


def test_an_export_that_breaks_off_leaves_nothing_and_is_tried_again(
    weights: Path, tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(export_cache, "export_model", stop)
        with pytest.raises(KeyboardInterrupt):
            cached_exports(weights, [ONNX], tmp_path / "cache", config_dir=tmp_path)
    (folder,) = (tmp_path / "cache").iterdir()
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert cached_exports(weights, [ONNX], tmp_path / "cache", config_dir=tmp_path).folders


def test_what_a_killed_process_left_is_removed(
    weights: Path, tmp_path: Path, calls: list[list[str]]
) -> None:
    cache = tmp_path / "cache"
    cached_exports(weights, [ONNX], cache, config_dir=tmp_path)
    (folder,) = cache.iterdir()
    (folder / "making-x").mkdir()
    (folder / "making-x" / "model.onnx").write_bytes(b"half of it")
    cached_exports(weights, [ONNX], cache, config_dir=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["exports.json", "lock", "onnx"]


def test_of_several_that_ask_at_once_one_exports(
    weights: Path, tmp_path: Path, calls: list[list[str]]
) -> None:
    def ask(_: int) -> Exports:
        return cached_exports(weights, [ONNX], tmp_path / "cache", config_dir=tmp_path)

    with ThreadPoolExecutor(6) as pool:  # a lock of a file is one of the opened file, not a process
        found = list(pool.map(ask, range(6)))
    assert calls == [["onnx"]]
    assert all(each == found[0] for each in found)


def test_only_what_would_be_preferred_is_worth_making(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.engine.has_gpu", lambda: False)
    assert worth_making({WEIGHTS: 1}) == [OPENVINO, ONNX]
    assert worth_making({WEIGHTS: 1, "onnx": 1}) == [OPENVINO]
    assert worth_making({WEIGHTS: 1, "openvino": 1}) == []
    assert worth_making({"onnx": 1}) == []
    assert worth_making({WEIGHTS: 1, INT8: 1}) == []
    monkeypatch.setattr("detector.engine.has_gpu", lambda: True)
    assert worth_making({WEIGHTS: 1}) == []


def test_what_was_made_is_found_by_the_digest_of_the_weights(
    weights: Path, tmp_path: Path, calls: list[list[str]]
) -> None:
    cache, digest = tmp_path / "cache", file_digest(weights)
    assert kept_exports(digest, ExportFormat, cache) == Exports()
    assert not cache.exists()
    made = cached_exports(weights, ExportFormat, cache, config_dir=tmp_path)
    assert kept_exports(digest, ExportFormat, cache) == made
    assert kept_exports(digest, [ONNX], cache) == Exports(made.folders)
    (made.folders["onnx"] / ONNX.file).write_bytes(b"changed")
    assert kept_exports(digest, ExportFormat, cache) == Exports({}, made.refused)


def test_a_cache_that_others_may_write_to_is_not_used(
    weights: Path, tmp_path: Path, calls: list[list[str]]
) -> None:
    cache = tmp_path / "cache"
    cached_exports(weights, [ONNX], cache, config_dir=tmp_path)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    with pytest.raises(Misconfigured, match="Others may write"):
        kept_exports(file_digest(weights), [ONNX], cache)
    with pytest.raises(Misconfigured, match="Others may write"):
        cached_exports(weights, [ONNX], cache, config_dir=tmp_path)


def test_no_child_is_started_for_what_is_there(
    weights: Path, tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    made = cached_exports(weights, ExportFormat, cache, config_dir=tmp_path)
    monkeypatch.setattr(export_cache, "subprocess", None)
    found = exports_by_child(weights, ExportFormat, cache, config_dir=tmp_path, seconds=1)
    assert found == made


@pytest.mark.slow
def test_a_child_exports_and_its_failure_is_told(
    checkpoint: Path, weights: Path, config_dir: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    made = exports_by_child(checkpoint, [ONNX], cache, config_dir=config_dir, seconds=300)
    assert made.folders["onnx"].is_relative_to(cache)
    with pytest.raises(Unavailable, match="could not be made"):
        exports_by_child(weights, [ONNX], cache, config_dir=config_dir, seconds=300)
    with pytest.raises(Unavailable, match="timed out"):
        exports_by_child(weights, [ONNX], cache, config_dir=config_dir, seconds=0.01)


@pytest.mark.slow
def test_a_real_checkpoint_is_exported(checkpoint: Path, config_dir: Path, tmp_path: Path) -> None:
    made = cached_exports(checkpoint, ExportFormat, tmp_path, config_dir=config_dir)
    assert set(made.folders) == {"onnx", "openvino"}
    assert all(folder.is_relative_to(tmp_path) for folder in made.folders.values())

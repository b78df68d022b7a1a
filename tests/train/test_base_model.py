from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from loop.errors import Misconfigured
from loop.predictions import ModelRef
from train import base_model
from train.base_model import Base, BaseKind, resolve_base
from train.params import Params


@dataclass
class FakeRegistry:
    champion: bytes | None
    folder: Path

    def find_alias(self, alias: str) -> ModelRef | None:
        if self.champion is None or alias != "champion":
            return None
        return ModelRef("detector", "7", hashlib.sha256(self.champion).hexdigest())

    def fetch(self, ref: ModelRef) -> Path:
        path = self.folder / f"{ref.digest}.pt"
        path.write_bytes(self.champion or b"")
        return path


def resolve(
    tmp_path: Path, champion: bytes | None = None, *, online: bool = False, **params: str
) -> Base:
    return resolve_base(
        Params(**params),  # type: ignore[arg-type]
        FakeRegistry(champion, tmp_path),
        workspace=tmp_path,
        cache=tmp_path / "cache",
        allow_downloads=online,
    )


def test_the_champions_weights_come_from_the_registry(tmp_path: Path) -> None:
    base = resolve(tmp_path, b"champion")
    assert base.kind is BaseKind.CHAMPION
    assert base.path.read_bytes() == b"champion"
    assert base.sha256 == hashlib.sha256(b"champion").hexdigest()
    assert "detector version 7" in base.note


def test_without_a_champion_the_architecture_is_trained_from_scratch(tmp_path: Path) -> None:
    base = resolve(tmp_path, ARCHITECTURE="yolo-demo.yaml")
    assert (base.kind, base.path.name) == (BaseKind.ARCHITECTURE, "yolo-demo.yaml")
    assert base.path.is_file()
    assert "no champion yet" in base.note


def test_a_file_of_the_workspace_goes_before_one_that_ships(tmp_path: Path) -> None:
    own = tmp_path / "yolo-demo.yaml"
    own.write_text("nc: 1\n")
    assert resolve(tmp_path, ARCHITECTURE="yolo-demo.yaml").path == own
    weights = tmp_path / "start.pt"
    weights.write_bytes(b"w")
    base = resolve(tmp_path, BASE_MODEL="start.pt")
    assert (base.kind, base.path) == (BaseKind.FILE, weights)


def test_an_architecture_of_ultralytics_goes_by_its_name_with_the_scale(tmp_path: Path) -> None:
    base = resolve(tmp_path, ARCHITECTURE="yolo11n.yaml")
    assert base.path.name == "yolo11n.yaml"
    assert (base.path.parent / "yolo11.yaml").is_file()
    assert len(base.sha256) == 64


def test_an_architecture_can_be_the_base_model(tmp_path: Path) -> None:
    base = resolve(tmp_path, b"champion", BASE_MODEL="yolo-demo.yaml")
    assert base.kind is BaseKind.ARCHITECTURE


def test_cached_weights_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "yolo11n.pt").write_bytes(b"cached")
    assert resolve(tmp_path, BASE_MODEL="yolo11n.pt", online=True).kind is BaseKind.CACHED


def test_known_weights_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rsplit("/", 1)[-1])
        return httpx.Response(200, content=b"published")

    _answer_with(answer, monkeypatch)
    first = resolve(tmp_path, BASE_MODEL="yolo11n.pt", online=True)
    second = resolve(tmp_path, BASE_MODEL="yolo11n.pt", online=True)
    assert (first.kind, second.kind) == (BaseKind.DOWNLOADED, BaseKind.CACHED)
    assert first.path.read_bytes() == b"published"
    assert asked == ["yolo11n.pt"]


def test_weights_that_cannot_be_had_leave_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer_with(lambda _: httpx.Response(404), monkeypatch)
    base = resolve(tmp_path, BASE_MODEL="yolo11n.pt", online=True)
    assert base.kind is BaseKind.ARCHITECTURE
    assert "cannot be downloaded" in base.note
    assert not list((tmp_path / "cache").iterdir())


def test_nothing_is_asked_for_where_downloads_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    _answer_with(answer, monkeypatch)
    assert "not allowed" in resolve(tmp_path, BASE_MODEL="yolo11n.pt").note


@pytest.mark.parametrize("name", ["mine.pt", "https://example.org/yolo11n.pt", "../yolo11n.pt"])
def test_a_name_that_nothing_goes_by_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="BASE_MODEL"):
        resolve(tmp_path, BASE_MODEL=name, online=True)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="architecture"):
        resolve(tmp_path, ARCHITECTURE="resnet.yaml")


def _answer_with(answer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = httpx.Client(transport=httpx.MockTransport(answer))

    def stream(method: str, url: str, **options: object):
        return client.stream(method, url)

    monkeypatch.setattr(base_model.httpx, "stream", stream)

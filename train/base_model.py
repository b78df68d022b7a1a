"""What a training starts from: weights, or an architecture from scratch."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import httpx

from loop.errors import InvalidInput, Misconfigured
from loop.predictions import ModelRef
from train.params import Params

CHAMPION = "champion"
# Beside the packages, in the repository and where they are installed.
_SHIPPED = Path(__file__).parents[1] / "configs"
_ULTRALYTICS_WEIGHTS = re.compile(r"yolo(v8|11|12|26)[nsmlx]\.pt")
_ULTRALYTICS_ARCHITECTURE = re.compile(r"(?P<family>yolo(?:v8|11|12|26))[nsmlx]\.yaml")
_DOWNLOADS = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0


class BaseKind(StrEnum):
    CHAMPION = "champion"
    FILE = "file"
    CACHED = "cached"
    DOWNLOADED = "downloaded"
    ARCHITECTURE = "architecture"  # from scratch


@dataclass(frozen=True, slots=True)
class Base:
    """``sha256`` is that of the weights, or of the architecture's file; ``note`` says in words
    which one was taken."""

    path: Path
    sha256: str
    kind: BaseKind
    note: str


class Registry(Protocol):
    """What is needed of `store.model_registry.ModelRegistry`."""

    def find_alias(self, alias: str) -> ModelRef | None: ...
    def fetch(self, ref: ModelRef) -> Path: ...


def resolve_base(
    params: Params,
    registry: Registry,
    *,
    workspace: Path,
    cache: Path,
    allow_downloads: bool,
) -> Base:
    """What ``BASE_MODEL`` means: the champion, a file, a cached or a downloaded one, in this order.

    Without any of them training starts from scratch, with ``ARCHITECTURE``. Relative paths are
    relative to ``workspace``. Raises `Misconfigured` for a name that nothing goes by.
    """
    name = params.BASE_MODEL
    if name == CHAMPION:
        champion = registry.find_alias(CHAMPION)
        if champion is None:
            return _architecture(params.ARCHITECTURE, workspace, "there is no champion yet")
        note = f"the champion, {champion.name} version {champion.version}"
        return Base(registry.fetch(champion), champion.digest, BaseKind.CHAMPION, note)
    if name.endswith((".yaml", ".yml")):
        return _architecture(name, workspace, "as BASE_MODEL asks")
    if (workspace / name).is_file():
        return _weights((workspace / name).absolute(), BaseKind.FILE)
    if not _ULTRALYTICS_WEIGHTS.fullmatch(name):
        raise Misconfigured(
            f"params.yaml: BASE_MODEL = {name!r} is no file in {workspace}.",
            hint="Give 'champion', a .pt file, an Ultralytics name such as yolo11n.pt, or a .yaml.",
        )
    if (cache / name).is_file():
        return _weights(cache / name, BaseKind.CACHED)
    failure = _download(name, cache) if allow_downloads else "downloads are not allowed"
    if not failure:
        return _weights(cache / name, BaseKind.DOWNLOADED)
    return _architecture(params.ARCHITECTURE, workspace, f"{name} is not here, and {failure}")


def _weights(path: Path, kind: BaseKind) -> Base:
    if path.suffix != ".pt":
        raise InvalidInput(f"{path} is not a .pt file.", hint="Give an Ultralytics checkpoint.")
    return Base(path, _sha256(path), kind, f"the {kind.value} weights {path}")


def _architecture(name: str, workspace: Path, reason: str) -> Base:
    """A file of the workspace, one that ships with Second Look, or one of Ultralytics'."""
    note = f"{name} from scratch: {reason}"
    for folder in (workspace, _SHIPPED):
        path = (folder / name).absolute()
        if path.is_file():
            return Base(path, _sha256(path), BaseKind.ARCHITECTURE, note)
    known = _ULTRALYTICS_ARCHITECTURE.fullmatch(name)
    spec = importlib.util.find_spec("ultralytics") if known else None
    if known and spec and spec.origin:
        models = Path(spec.origin).parent / "cfg" / "models"
        for file in sorted(models.rglob(f"{known['family']}.yaml")):
            # The scale is in the name, and Ultralytics finds the file without it.
            return Base(file.with_name(name), _sha256(file), BaseKind.ARCHITECTURE, note)
    raise Misconfigured(
        f"params.yaml: there is no architecture {name!r}.",
        hint="Give a .yaml of the workspace, yolo-demo.yaml, or an Ultralytics name such as "
        "yolo11n.yaml.",
    )


def _download(name: str, cache: Path) -> str:
    """Fetch a file of an Ultralytics release; returns why it could not, which is no error."""
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{name}.partial"
    timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    try:
        with (
            httpx.stream(
                "GET", f"{_DOWNLOADS}/{name}", follow_redirects=True, timeout=timeout
            ) as answer,
            partial.open("wb") as file,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
        partial.replace(cache / name)
    except httpx.HTTPError as error:
        partial.unlink(missing_ok=True)
        return f"it cannot be downloaded ({error})"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Makes Ultralytics offline, silent and safe, before it is imported for the first time.

Ultralytics reads its environment and its settings file once, at import.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from loop.errors import Misconfigured

# Read at import by ultralytics/utils/__init__.py (8.4.190).
_ENVIRONMENT = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
    # .pt files are pickles: load only known classes of torch and Ultralytics from them.
    "ULTRALYTICS_SAFE_LOAD": "1",
}
# A settings file with other keys or another version is rewritten, and not atomically.
_SETTINGS_VERSION = "0.0.8"
# `check_font` sends a request for a font that is not in the folder, even when offline.
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def prepare(config_dir: Path) -> None:
    """Set the environment and write settings and fonts below ``config_dir``.

    Several processes may share one folder: its files are put there whole, and Ultralytics finds
    nothing in them to rewrite. Once Ultralytics is imported this only checks how it was. Raises
    `Misconfigured` if that was without this preparation, or if the folder cannot be written.
    """
    if "ultralytics" in sys.modules:
        if os.environ.get("ULTRALYTICS_SAFE_LOAD") != "1":
            raise Misconfigured(
                "Ultralytics was imported before it was made safe.",
                hint="Call detector.ultralytics_env.prepare before anything imports ultralytics.",
            )
        return
    folder = config_dir.absolute() / "Ultralytics"  # the name that Ultralytics appends itself
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(_settings(folder), indent=2)
        _place(folder / "settings.json", lambda path: _write(path, settings), settings.encode())
        font = _any_font()
        for name in _FONTS:
            _place(folder / name, lambda path: _copy(font, path), None)
    except OSError as error:
        raise Misconfigured(
            f"Ultralytics' settings cannot be written to {folder}: {error}.",
            hint="Make SECONDLOOK_HOME a folder that you may write to.",
        ) from error
    os.environ.update(_ENVIRONMENT)
    os.environ["YOLO_CONFIG_DIR"] = str(config_dir.absolute())


def require_safe_loading() -> None:
    """Raises `Misconfigured` unless Ultralytics, now imported, builds known classes only.

    The environment says what was asked for. With a torch that cannot do it, and if it was imported
    before, Ultralytics runs whatever a ``.pt`` file holds, without a word
    (`torch_safe_load` of ultralytics/nn/tasks.py, 8.4.190).
    """
    import torch
    from ultralytics.utils import SAFE_LOAD

    if SAFE_LOAD and hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        return
    raise Misconfigured(
        "Ultralytics would run code from .pt files here: its safe mode is off, or torch has none.",
        hint="Install the pinned versions (make up does), and let nothing import ultralytics "
        "before detector.ultralytics_env.prepare.",
    )


def _settings(folder: Path) -> dict[str, str | bool]:
    integrations = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    messages = ("vscode_msg", "openvino_msg")
    return {
        "settings_version": _SETTINGS_VERSION,
        "datasets_dir": str(folder / "datasets"),
        "weights_dir": str(folder / "weights"),
        "runs_dir": str(folder / "runs"),
        "uuid": "0" * 64,  # by default a digest of the network card's address
        "sync": False,
        "api_key": "",
        "openai_api_key": "",
        **dict.fromkeys((*integrations, *messages), False),
    }


def _any_font() -> Path:
    """DejaVu Sans, which comes with matplotlib, which comes with Ultralytics."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise Misconfigured("matplotlib is not installed.", hint="Run `make install`.")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


def _place(target: Path, fill: Callable[[Path], object], content: bytes | None) -> None:
    """Put a file there in one step, unless it is there already (with ``content``, if given)."""
    if target.exists() and (content is None or target.read_bytes() == content):
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder) / target.name
        fill(new)
        new.replace(target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)

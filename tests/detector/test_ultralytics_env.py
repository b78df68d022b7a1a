from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_PROBE = """
import json, sys
from pathlib import Path
from detector.ultralytics_env import prepare
prepare(Path(sys.argv[1]))
from ultralytics import utils
from ultralytics.utils.checks import check_font
print(json.dumps({
    "online": utils.ONLINE, "safe": utils.SAFE_LOAD, "install": utils.AUTOINSTALL,
    "sync": utils.SETTINGS["sync"], "mlflow": utils.SETTINGS["mlflow"],
    "folder": str(utils.USER_CONFIG_DIR), "font": str(check_font("Arial.ttf")),
}))
"""

_TOO_LATE = """
import sys, types
from pathlib import Path
sys.modules["ultralytics"] = types.ModuleType("ultralytics")
from detector.ultralytics_env import prepare
from loop.errors import Misconfigured
try:
    prepare(Path(sys.argv[1]))
except Misconfigured as error:
    print(error.message)
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("YOLO_", "ULTRALYTICS_"))
    }
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=clean,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )


def test_ultralytics_starts_offline_silent_and_safe(tmp_path: Path) -> None:
    first = run(_PROBE, tmp_path)
    seen = json.loads(first.stdout)
    assert seen["online"] is False
    assert seen["install"] is False
    assert seen["safe"] is True
    assert seen["sync"] is False
    assert seen["mlflow"] is False
    assert Path(seen["folder"]).parent == tmp_path
    assert Path(seen["font"]).parent.parent == tmp_path
    assert first.stderr == ""


def test_the_settings_file_is_left_as_it_was_written(tmp_path: Path) -> None:
    run(_PROBE, tmp_path)
    settings = tmp_path / "Ultralytics" / "settings.json"
    before = (settings.read_bytes(), settings.stat().st_mtime_ns)
    run(_PROBE, tmp_path)
    assert (settings.read_bytes(), settings.stat().st_mtime_ns) == before


def test_ultralytics_imported_without_preparation_is_reported(tmp_path: Path) -> None:
    assert "imported before" in run(_TOO_LATE, tmp_path).stdout

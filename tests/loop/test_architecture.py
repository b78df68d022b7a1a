from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LINT = "import sys; from importlinter.cli import lint_imports_command as lint; lint(sys.argv[1:])"

# Refuses the big libraries as if they were not installed, then imports the whole domain.
_IMPORT_ALONE = """
import importlib, pkgutil, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
import loop
for module in pkgutil.walk_packages(loop.__path__, "loop."):
    importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
_FORBIDDEN = [
    "ray",
    "torch",
    "torchvision",
    "mlflow",
    "sqlalchemy",
    "alembic",
    "gradio",
    "ultralytics",
    "fastapi",
    "pyarrow",
    "PIL",
    "cv2",
    "store",
    "detector",
    "serve",
    "train",
    "ui",
    "cluster",
]


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_imports_point_downward_and_libraries_stay_where_they_belong() -> None:
    done = _python("-c", _LINT, "--no-cache", "--no-logo")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_domain_works_where_none_of_the_big_libraries_is_installed() -> None:
    done = _python("-c", _IMPORT_ALONE, *_FORBIDDEN)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "loop" in loaded
    assert not loaded & set(_FORBIDDEN)

from __future__ import annotations

from pathlib import Path

import pytest

from tests.detector.checkpoints import write_checkpoint


@pytest.fixture(scope="session")
def config_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ultralytics")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, config_dir: Path) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt", config_dir=config_dir)


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    folder = Path(__file__).parents[2] / "../shared/data"
    if not (folder / "weights" / "bccd-yolo11n-320.pt").exists():
        pytest.skip("the blood-cell images and weights are not on this machine")
    return folder

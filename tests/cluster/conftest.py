"""A home of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable in ("SECONDLOOK_HOME", "SECONDLOOK_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return load_settings(tmp_path / "home")

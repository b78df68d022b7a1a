from __future__ import annotations

from pathlib import Path

import pytest

from tests.configs.manifests import OVERLAYS, Manifest, built, job, kustomize


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the manifests are copied to, for `built`."""
    if kustomize() is None:
        pytest.skip("neither kustomize nor kubectl is here")
    return tmp_path_factory.mktemp("kustomize")


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, sources: Path) -> list[Manifest]:
    return [*built(request.param, sources), job()]


@pytest.fixture(scope="session")
def kind(sources: Path) -> list[Manifest]:
    return built("kind", sources)


@pytest.fixture(scope="session")
def cloud(sources: Path) -> list[Manifest]:
    return built("cloud", sources)

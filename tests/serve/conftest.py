from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from serve.api import Intake, build_api
from serve.keys import Gate
from store.image_codec import Limits
from tests.serve.fakes import FakeDatabase, FakeImageStore, FakeService, OpenGate

MAX_BYTES = 200_000
MAX_PIXELS = 120_000


@dataclass
class World:
    """The API and everything it stands on."""

    service: FakeService = field(default_factory=FakeService)
    database: FakeDatabase = field(default_factory=FakeDatabase)
    images: FakeImageStore = field(default_factory=FakeImageStore)

    def client(self, keys: Gate | None = None) -> TestClient:
        """Everybody comes in, unless ``keys`` are given."""
        intake = Intake(
            self.database.units, self.images, lambda subject: f"p-{subject}" if subject else ""
        )
        api = build_api(
            self.service, intake, Limits(MAX_BYTES, MAX_PIXELS), keys=keys or OpenGate()
        )
        return TestClient(api, raise_server_exceptions=False)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with world.client() as client:
        yield client


def picture(width: int = 60, height: int = 40, kind: str = "JPEG", seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()

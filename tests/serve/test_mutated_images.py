"""Two thousand spoiled images through the API: each is taken or refused, and that is all."""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.memory import resident_mib
from tests.serve.conftest import MAX_PIXELS, World
from tests.serve.mutations import COMPANIONS, HEIGHT, MUTATIONS, WIDTH, mutants, valid_files
from tests.serve.test_api import error_of

# Pillow warns of odd metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

COUNT = 2000
TO_BE_STORED = 5  # every fifth
# Decoders' caches grow in the first requests; what leaked once a request would be far above this.
MAX_GROWTH_MIB = 64
EVERY_MUTATION = len(MUTATIONS) * len(valid_files())


@pytest.mark.parametrize("name", valid_files())
def test_every_file_that_is_spoiled_is_taken_as_it_is(client: TestClient, name: str) -> None:
    answer = client.post("/v1/detect", content=valid_files()[name])
    assert answer.status_code == 200, answer.text
    shown = (answer.json()["width"], answer.json()["height"])
    assert sorted(shown) == [HEIGHT, WIDTH]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_2000_spoiled_images_are_taken_or_refused(client: TestClient, world: World) -> None:
    statuses: Counter[int] = Counter()
    before = 0.0
    for index, (name, data) in enumerate(mutants(seed=5, count=COUNT)):
        if index == EVERY_MUTATION:
            before = resident_mib()
        path = "/v1/detect" if index % TO_BE_STORED else "/v1/images"
        response = client.post(path, content=data, headers={"content-type": "image/jpeg"})
        statuses[response.status_code] += 1
        if response.status_code == 200:
            answer = response.json()
            assert 0 < answer["width"] * answer["height"] <= MAX_PIXELS, name
            assert answer["detections"], name
        else:
            assert 400 <= response.status_code < 500, (name, response.text)
            error_of(response)
        world.service.seen.clear()
    assert sum(statuses.values()) == COUNT
    # Neither does everything pass nor nothing: the mutations reach the decoders.
    assert min(statuses[200], statuses[415]) > COUNT / 10, statuses
    assert client.post("/v1/detect", content=valid_files()["jpeg"]).status_code == 200
    if sys.platform.startswith("linux"):
        assert resident_mib() - before < MAX_GROWTH_MIB
    _check_stored(list(world.images.kept.values()))


def _check_stored(stored: list[bytes]) -> None:
    assert len(stored) > 50
    for data in stored:
        assert not any(companion in data for companion in COMPANIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                image.load()
                assert not image.getexif()
                assert not {"comment", "exif", "xmp", "icc_profile"} & set(image.info)

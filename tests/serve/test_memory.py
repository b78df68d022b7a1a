"""Thousands of requests, good and bad, leave the process as large as it was."""

from __future__ import annotations

import itertools
import sys

import pytest
from fastapi.testclient import TestClient

from tests.memory import resident_mib
from tests.serve.conftest import World
from tests.serve.mutations import mutants, valid_files
from tests.serve.test_multipart_attacks import ATTACKS, FORM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

WARM_UP, REQUESTS = 400, 2000
# Some four kilobytes a request: a decoded image that leaked in each would be above it.
MAX_GROWTH_MIB = 8


def test_memory_is_flat_over_thousands_of_requests(client: TestClient, world: World) -> None:
    good = [(data, {}) for data in valid_files().values()]
    bad = [(data, {}) for _, data in mutants(seed=11, count=100)]
    forms = [(body, FORM) for body in ATTACKS.values() if len(body) < 200_000]
    before = 0.0
    sent = itertools.islice(itertools.cycle(good + bad + forms), WARM_UP + REQUESTS)
    for index, (body, headers) in enumerate(sent):
        if index == WARM_UP:
            before = resident_mib()
        assert client.post("/v1/detect", content=body, headers=headers).status_code < 500
        world.service.seen.clear()  # the fake's own memory
    assert resident_mib() - before < MAX_GROWTH_MIB

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from cluster.drift import in_words, told_drift
from loop.drift import MIN_IMAGES
from serve.metrics import Metrics, exposition
from serve.service import Detected
from store.settings import Settings
from tests.serve.fakes import CLASSES
from tests.serve.test_drift import detections, reference
from tests.serve.test_metrics import IN_SERVICE, ONE

AS_BEFORE = ((0, 0.9), (0, 0.6), (1, 0.4))
OTHER = ((0, 0.3), (1, 0.3), (1, 0.3))


def metrics_of(images: int, *seen: tuple[int, float]) -> Metrics:
    metrics = Metrics()
    metrics.expect(reference(), 1000)
    for _ in range(images):
        metrics.detected(Detected(ONE, CLASSES, detections(*seen)))
    return metrics


def text(*replicas: Metrics) -> str:
    families = {f"r{n}": each.families(IN_SERVICE) for n, each in enumerate(replicas)}
    return exposition(families).decode()


def test_what_is_as_it_was_has_no_drift() -> None:
    assert in_words(text(metrics_of(500, *AS_BEFORE))) == "none"


def test_the_replica_that_is_furthest_off_is_told_of_largest_measure_first() -> None:
    told = in_words(text(metrics_of(500, *AS_BEFORE), metrics_of(500, *OTHER)))
    first, *others = told.split("; ")
    assert first.startswith(("LARGE (scores of rod, PSI ", "LARGE (scores, PSI "))
    assert any("shares of the classes, distance" in each for each in others)
    assert "detections an image" not in told


def test_what_cannot_be_compared_is_said() -> None:
    assert in_words(text(Metrics())) == "no reference"
    assert in_words("") == "no reference"
    assert in_words(text(metrics_of(3))) == f"too few images yet: 3 of {MIN_IMAGES}"


@pytest.fixture
def api() -> Iterator[tuple[str, list[str | None]]]:
    """An API that tells its metrics, and notes with which key it was asked."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text(metrics_of(500, *AS_BEFORE)).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_the_api_is_asked_with_the_own_key(
    api: tuple[str, list[str | None]], settings: Settings
) -> None:
    url, asked = api
    with_key = settings.model_copy(update={"api_key": type(settings.api_key)("sl_x")})
    assert told_drift(with_key, url) == "none"
    assert asked == ["Bearer sl_x"]


def test_an_api_that_does_not_answer_leaves_it_unknown(settings: Settings) -> None:
    assert told_drift(settings, "http://127.0.0.1:9").startswith("not known")

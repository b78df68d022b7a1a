from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from loop.errors import BrokenRecord
from serve.admission import Busy
from serve.request_ids import accepted_request_id, middlewares
from store.logs import configure_logs
from tests.serve.conftest import World, picture

JPEG = {"content-type": "image/jpeg", "x-request-id": "abc-1"}


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs(processors=[merge_contextvars]) as lines:
        yield lines


def test_a_request_leaves_one_line(client: TestClient, lines: list[Any]) -> None:
    body = picture()
    client.post("/v1/images?subject=Ana+Maria&source=ward-7", content=body, headers=JPEG)
    (line,) = lines
    seconds = line.pop("seconds")
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "abc-1",
        "method": "POST",
        "route": "/v1/images",
        "status": 200,
        "bytes_in": len(body),
        "key": "api",
        "model": "1",
        "detections": 1,
    }
    assert 0 <= seconds < 600


def test_a_line_says_nothing_of_who_sent_what(world: World, lines: list[Any]) -> None:
    headers = JPEG | {"authorization": "Bearer sl_secret", "x-forwarded-for": "203.0.113.9"}
    with world.client() as client:
        client.post("/v1/images?subject=Ana", content=b"Ana's image", headers=headers)
        client.get("/ana/203.0.113.9", headers=headers)
    assert [line["route"] for line in lines] == ["/v1/images", "unknown"]
    text = repr(lines)
    for secret in ("Ana", "ana", "sl_secret", "203.0.113.9", "testclient", "127.0.0.1"):
        assert secret not in text


def test_what_is_refused_is_a_warning_with_the_code(
    client: TestClient, world: World, lines: list[Any]
) -> None:
    client.post("/v1/detect", content=b"no image", headers=JPEG)
    client.get("/v1/detect")
    client.post("/v1/detect?source=1", headers=JPEG)
    world.service.busy = Busy("Full.", hint="Later.")
    client.post("/v1/detect", content=picture(), headers=JPEG)
    assert [(line["log_level"], line["status"], line["error"]) for line in lines] == [
        ("warning", 415, "not_an_image"),
        ("warning", 405, "method_not_allowed"),
        ("warning", 422, "no_image"),
        ("warning", 429, "busy"),
    ]
    assert all("model" not in line for line in lines)


@pytest.mark.parametrize("failure", [RuntimeError("no"), BrokenRecord("no", hint="no")])
def test_a_failure_is_logged_with_its_cause_and_its_line_under_one_id(
    client: TestClient, world: World, lines: list[Any], failure: Exception
) -> None:
    world.service.failure = failure
    client.post("/v1/detect", content=picture(), headers=JPEG)
    cause, line = lines
    assert cause["event"] == "request.failed"
    assert cause["exc_info"]
    assert (line["status"], line["error"], line["log_level"]) == (500, "internal", "error")
    assert {cause["request_id"], line["request_id"]} == {"abc-1"}


def test_nothing_of_a_request_stands_in_the_line_of_the_next(
    client: TestClient, lines: list[Any]
) -> None:
    client.post("/v1/detect", content=picture(), headers=JPEG)
    client.get("/v1/model")
    first, second = lines
    assert first["request_id"] != second["request_id"]
    assert not {"model", "detections", "error"} & second.keys()


def test_probes_that_are_answered_are_for_debugging_only(
    client: TestClient, world: World, lines: list[Any]
) -> None:
    client.get("/healthz")
    world.service.state = type(world.service.state)()
    client.get("/readyz")
    assert [line["log_level"] for line in lines] == ["debug", "error"]


@pytest.mark.parametrize(("level", "written"), [("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_a_line_is_json_and_the_level_decides_whether_it_is_written(
    monkeypatch: pytest.MonkeyPatch, level: str, written: int
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    before = structlog.get_config()
    try:
        configure_logs(level)
        log = structlog.get_logger("fresh")
        log.info("request", status=200, text='a "quoted"\nline')
        log.warning("request", status=429)
    finally:
        structlog.configure(**before)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == written
    assert all({"event", "level", "timestamp", "status"} <= line.keys() for line in lines)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [([b"mine-1"], True), ([], False), ([b"what (is) this"], False), ([b"<a>", b"mine-1"], False)],
)
def test_what_ray_sees_is_one_id_that_is_one(sent: list[bytes], kept: bool) -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x-request-id")

    scope = {"type": "http", "headers": [(b"x-request-id", each) for each in sent]}
    (middleware,) = middlewares()
    asyncio.run(middleware.cls(app)(scope, None, None))  # type: ignore[arg-type,call-arg]
    (request_id,) = seen
    assert (request_id in sent) == kept
    assert accepted_request_id(request_id.decode()) == request_id.decode()

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from loop.boxes import Box
from loop.errors import Conflict, InvalidImage, InvalidInput, LoopError, TooLarge, Unavailable
from loop.predictions import Detection, ModelRef
from tests.ui.conftest import MODEL, answering, detection, found
from ui.detection import Queued, look, queue

ERROR = {"code": "truncated", "message": "The image is cut off.", "hint": "Send it again."}


def queued(status: int, body: Any) -> Queued:
    async def send() -> Queued:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
        async with httpx.AsyncClient(base_url="http://api.test", transport=transport) as client:
            return await queue(client, b"form", "multipart/form-data; boundary=x", "request-1")

    return asyncio.run(send())


def test_what_became_of_an_upload_is_told_in_few_words() -> None:
    answer = queued(200, found(detection(1), detection(2, 1)))
    assert answer == Queued("a" * 64, "c" * 32, 2, "detector:7")


def test_an_image_is_only_looked_at_when_models_are_compared() -> None:
    sent: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=found(detection(1)))

    client = httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(api))
    model, detections = look(client, b"as stored")
    assert model == ModelRef.from_dict(MODEL)
    assert detections == (Detection("d1", Box(5, 5, 30, 25), 0, 0.876),)
    assert sent[0].content == b"as stored"
    assert sent[0].url.path == "/v1/detect"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (409, Conflict),
        (413, TooLarge),
        (415, InvalidImage),
        (422, InvalidInput),
        (400, InvalidInput),
        (401, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_what_the_api_refuses_keeps_its_words_and_its_kind(
    status: int, kind: type[LoopError]
) -> None:
    with pytest.raises(kind) as by_queue:
        queued(status, {"error": ERROR})
    with pytest.raises(kind) as by_look:
        look(answering(status, {"error": ERROR}), b"x")
    assert by_queue.value.as_dict() == by_look.value.as_dict() == ERROR


def test_an_api_that_is_down_is_said_with_what_to_do(api_down: httpx.Client) -> None:
    with pytest.raises(Unavailable, match="does not answer") as refusal:
        look(api_down, b"x")
    assert "secondlook up" in refusal.value.hint


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("body", [None, [], {"error": "text"}, {"detail": "x"}, {"model": 1}])
def test_an_answer_of_something_else_is_no_crash(status: int, body: object) -> None:
    with pytest.raises(Unavailable):
        queued(status, body)
    with pytest.raises(Unavailable):
        look(answering(status, body), b"x")

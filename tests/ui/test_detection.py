from __future__ import annotations

import httpx
import numpy as np
import pytest

from loop.errors import InvalidInput, Unavailable
from tests.ui.conftest import MODEL, answering, detection, found
from ui.detection import ask, draw


def test_an_answer_becomes_rows_of_a_table() -> None:
    answer = ask(answering(200, found(detection(1), detection(2, 1))), b"image")
    assert answer.model == MODEL
    assert answer.rows() == [
        [1, "rod", "0.88", "5 5 30 25"],
        [2, "ring", "0.88", "5 5 30 25"],
    ]


def test_the_bytes_are_sent_as_they_are() -> None:
    sent: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=found())

    client = httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(api))
    ask(client, b"as uploaded")
    assert sent[0].content == b"as uploaded"
    assert sent[0].url.path == "/v1/images"


def test_what_the_api_says_of_an_image_is_passed_on() -> None:
    error = {"code": "truncated", "message": "The image is cut off.", "hint": "Send it again."}
    with pytest.raises(InvalidInput) as refusal:
        ask(answering(415, {"error": error}), b"x")
    assert refusal.value.as_dict() == error


def test_no_model_in_service_is_said() -> None:
    error = {"code": "no_model", "message": "No model is in service yet.", "hint": "Promote one."}
    with pytest.raises(Unavailable, match="No model"):
        ask(answering(503, {"error": error}), b"x")


def test_an_api_that_is_down_is_said_with_what_to_do(api_down: httpx.Client) -> None:
    with pytest.raises(Unavailable, match="does not answer") as refusal:
        ask(api_down, b"x")
    assert "secondlook up" in refusal.value.hint


@pytest.mark.parametrize("body", [None, [], {"error": "text"}, {"detail": "x"}])
def test_an_answer_of_something_else_is_no_crash(body: object) -> None:
    with pytest.raises(Unavailable):
        ask(answering(502, body), b"x")


def test_boxes_are_drawn_where_they_are_and_the_rest_is_left_alone() -> None:
    pixels = np.full((400, 600, 3), 200, np.uint8)
    drawn = np.asarray(draw(pixels, [detection(1, 0, (200, 200, 400, 300))]))
    assert drawn.shape == pixels.shape
    assert (drawn[250, 200] != 200).any()
    assert (drawn[250, 300] == 200).all()
    assert (drawn[50, 50] == 200).all()
    assert (pixels == 200).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 2000, 3), (2000, 3, 3)])
def test_odd_images_can_be_drawn_on(shape: tuple[int, int, int]) -> None:
    height, width, _ = shape
    draw(np.zeros(shape, np.uint8), [detection(1, 1, (0, 0, width, height))])


def test_classes_beyond_the_palette_have_a_colour_too() -> None:
    many = [{**detection(1), "class_id": class_id} for class_id in range(40)]
    draw(np.zeros((40, 60, 3), np.uint8), many)

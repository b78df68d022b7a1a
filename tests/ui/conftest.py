from __future__ import annotations

from typing import Any

import httpx
import pytest

MODEL = {"name": "detector", "version": "7", "digest": "0" * 64}


def detection(number: int, class_id: int = 0, box: tuple[float, ...] = (5, 5, 30, 25)) -> Any:
    return {
        "id": f"d{number}",
        "box": list(box),
        "class_id": class_id,
        "class_name": ("rod", "ring")[class_id],
        "confidence": 0.876,
    }


def answering(status: int, body: Any) -> httpx.Client:
    """An API that gives one answer to everything."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
    return httpx.Client(base_url="http://api.test", transport=transport)


def found(*detections: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "width": 60,
        "height": 40,
        "detections": list(detections),
        "image_id": "a" * 64,
        "prediction_id": "p1",
        "review_id": "c" * 32,
    }


@pytest.fixture
def api_down() -> httpx.Client:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    return httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(refuse))

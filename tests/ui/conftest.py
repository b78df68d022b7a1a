from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from loop.cases import Case, CaseState

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


def units_of(*cases: Case) -> Callable[[], Any]:
    """A database that holds ``cases`` and can only be read."""

    @contextmanager
    def units() -> Iterator[Any]:
        def waiting(state: CaseState, *, limit: int) -> list[Case]:
            return [case for case in cases if case.state is state][:limit]

        def counts() -> dict[CaseState, int]:
            return {state: len(waiting(state, limit=10**6)) for state in CaseState}

        yield SimpleNamespace(cases=SimpleNamespace(waiting=waiting, counts=counts))

    return units


def case(number: int, state: CaseState, *reasons: str) -> Case:
    return Case(
        f"{number:032x}",
        "b" * 64,
        f"p{number}",
        state,
        reasons,
        0.5,
        "2026-02-03T04:05:06.700000Z",
    )


@pytest.fixture
def api_down() -> httpx.Client:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    return httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(refuse))

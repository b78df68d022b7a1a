"""Asks the detection API about one image, for a person who uploads it or compares models on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from loop.errors import Conflict, InvalidImage, InvalidInput, LoopError, TooLarge, Unavailable
from loop.predictions import Detection, ModelRef

_SECONDS = 60.0
# What the API says of this app's key, or of too many requests: nobody who uploads can mend it.
_OURS = {401, 403, 429}


@dataclass(frozen=True, slots=True)
class Queued:
    """What became of an uploaded image; ``model`` is ``name:version``."""

    image_id: str
    review_id: str
    detections: int
    model: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "image_id": self.image_id,
            "review_id": self.review_id,
            "detections": self.detections,
            "model": self.model,
        }


async def queue(
    client: httpx.AsyncClient, form: bytes, content_type: str, request_id: str
) -> Queued:
    """Send a form with an image, which stores it and queues it for review.

    What the API refuses is raised as it says it; `Unavailable` when there is no API or no model.
    """
    try:
        response = await client.post(
            "/v1/images",
            content=form,
            headers={"content-type": content_type, "x-request-id": request_id},
            params={"source": "reviewers-app"},
            timeout=_SECONDS,
        )
    except httpx.TransportError as error:
        raise _silent(client.base_url) from error
    if response.is_error:
        raise _refusal(response)
    try:
        answer = response.json()
        model = f"{answer['model']['name']}:{answer['model']['version']}"
        return Queued(answer["image_id"], answer["review_id"], len(answer["detections"]), model)
    except (ValueError, KeyError, TypeError) as error:
        raise _not_understood(response, Unavailable) from error


def look(client: httpx.Client, data: bytes) -> tuple[ModelRef, tuple[Detection, ...]]:
    """What the model in service sees on an image, and which model that is. Nothing is stored.

    Raises as `queue` does.
    """
    try:
        response = client.post(
            "/v1/detect",
            content=data,
            headers={"content-type": "application/octet-stream"},
            timeout=_SECONDS,
        )
    except httpx.TransportError as error:
        raise _silent(client.base_url) from error
    if response.is_error:
        raise _refusal(response)
    try:
        answer = response.json()
        found = tuple(Detection.from_dict(document) for document in answer["detections"])
        return ModelRef.from_dict(answer["model"]), found
    except (ValueError, KeyError, TypeError, InvalidInput) as error:
        raise _not_understood(response, Unavailable) from error


def _silent(url: httpx.URL) -> Unavailable:
    return Unavailable(
        f"The detection API at {url} does not answer.",
        hint="Start it with `secondlook up`, then try again.",
    )


def _refusal(response: httpx.Response) -> LoopError:
    """What the API said, as an error of the same status."""
    kind: type[LoopError] = InvalidInput
    if response.status_code >= 500 or response.status_code in _OURS:
        kind = Unavailable
    for one in (Conflict, TooLarge, InvalidImage):
        if one.http_status == response.status_code:
            kind = one
    try:
        error = response.json()["error"]
        return kind(error["message"], hint=error["hint"], code=error["code"])
    except (ValueError, KeyError, TypeError):
        return _not_understood(response, kind)


def _not_understood(response: httpx.Response, kind: type[LoopError]) -> LoopError:
    return kind(
        f"The API answered {response.status_code} and nothing that this page understands.",
        hint="Is something else listening on the API's port?",
    )

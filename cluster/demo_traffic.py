"""The demo's clients: they send images to the running service over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from cluster.demo_data import DemoImage
from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.errors import Unavailable
from store.own_key import api_headers
from store.settings import Settings

# Enough to fill a batch on two cores.
_CLIENTS = 4
_TIMEOUT_SECONDS = 120.0

Step = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said about one image."""

    body: dict[str, Any]

    @property
    def boxes(self) -> list[LabelledBox]:
        return [
            LabelledBox(d["id"], Box.of(d["box"]), d["class_id"], d["confidence"])
            for d in self.body["detections"]
        ]

    @property
    def model_version(self) -> str:
        return str(self.body["model"]["version"])


def post_images(
    settings: Settings, path: str, images: Sequence[DemoImage], step: Step
) -> list[Answer]:
    """POST every image to ``path``, a few at a time; answers come in the order of ``images``.

    Raises `Unavailable` with the service's own words if one is refused.
    """
    headers = api_headers(settings)
    with httpx.Client(
        base_url=settings.api_url, timeout=_TIMEOUT_SECONDS, headers=headers
    ) as client:

        def post(image: DemoImage) -> Answer:
            response = client.post(
                path,
                content=image.new.data,
                headers={"Content-Type": image.new.media_type},
                params={"subject": image.new.subject, "source": image.new.source},
            )
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"{path} refused {image.name}: {response.text}")
            return Answer(response.json())

        with ThreadPoolExecutor(_CLIENTS) as pool:
            return list(_counted(pool.map(post, images), len(images), step))


def _counted(answers: Iterator[Answer], total: int, step: Step) -> Iterator[Answer]:
    for done, answer in enumerate(answers, start=1):
        step(done, total)
        yield answer

"""The app as people get it: a process of its own on a home of its own, and Chromium before it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request

from loop.boxes import Box
from loop.classes import ClassList
from loop.events import Actor, Event, Role, new_id
from loop.intake import NewImage, Queued, queue_image
from loop.ports import ImageStore, UnitsOfWork
from loop.predictions import Detection, ModelRef
from store.image_codec import Limits, encode_jpeg, sanitise
from store.image_store import open_image_store
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from ui.sessions import People, open_people

CHROMIUM = Path("/usr/bin/chromium")
CLASSES = ClassList(("RBC", "WBC", "Platelets"))
MODEL = ModelRef("detector", "3", "a" * 64)
API = Actor("api", Role.SYSTEM)
PASSWORD = "correct horse battery staple"
PEOPLE = {
    "ana": (Role.REVIEWER,),
    "ben": (Role.ADJUDICATOR,),
    "cleo": (Role.REVIEWER,),
    "eva": (Role.ENGINEER,),
    "aud": (Role.AUDITOR,),
    "root": (Role.ADMIN,),
}
_START_SECONDS = 90


@dataclass
class App:
    """The app at ``url``, and the home behind it as the tests look at it."""

    url: str
    settings: Settings
    units: UnitsOfWork
    images: ImageStore
    people: People
    pseudonyms: dict[str, str] = field(default_factory=dict)

    def queue(
        self,
        detections: tuple[Detection, ...],
        *,
        width: int = 640,
        height: int = 480,
        seed: int = 0,
    ) -> Queued:
        """A case that waits for its first review, on an image that is like no other."""
        new = NewImage(picture(width, height, seed), "image/jpeg", width, height)
        return queue_image(
            self.units, self.images, new, model=MODEL, detections=detections, actor=API
        )

    def clear_queue(self) -> None:
        """Settle whatever waits, so that the next case is the test's own."""
        from tests.app.answers import settle_everything

        settle_everything(self.units, self.settings.agreement)


def found(*boxes: tuple[float, float, float, float, int, float]) -> tuple[Detection, ...]:
    """Detections from (x1, y1, x2, y2, class id, confidence)."""
    return tuple(Detection(new_id(), Box(*b[:4]), int(b[4]), b[5]) for b in boxes)


def picture(width: int, height: int, seed: int) -> bytes:
    """A JPEG with soft blobs; another one for every seed, and every call."""
    rng = np.random.default_rng((seed, time.monotonic_ns()))
    pixels = np.full((height, width, 3), 226, np.uint8)
    pixels[:, :, 1] -= 14
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(14):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.03, 0.07) * width
        near = (columns - x) ** 2 + (rows - y) ** 2 < r**2
        pixels[near] = (206, 120 + int(rng.integers(0, 60)), 140)
    return sanitise(encode_jpeg(pixels), Limits(10**9, 10**9)).data


@pytest.fixture(scope="package")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for all tests that do not need another setting."""
    with running_app(tmp_path_factory.mktemp("home")) as running:
        yield running


@contextmanager
def running_app(
    home: Path, *, people: Sequence[str] = tuple(PEOPLE), **environment: str
) -> Iterator[App]:
    """The app on ``home``, with accounts for ``people``, a class list and a detection API."""
    api_port, ui_port = _free_port(), _free_port()
    values = {
        "SECONDLOOK_HOME": str(home),
        "SECONDLOOK_API_PORT": str(api_port),
        "SECONDLOOK_UI_PORT": str(ui_port),
        "SECONDLOOK_RANDOM_SHARE": "0",
        **environment,
    }
    settings = load_settings(home).model_copy(update={"api_port": api_port, "ui_port": ui_port})
    units, images = open_units_of_work(settings), open_image_store(settings)
    with units() as uow:
        uow.classes.set(CLASSES)
        uow.record(Event("classes.defined", API, {"classes": list(CLASSES)}))
        uow.commit()
    running = App(settings.app_url, settings, units, images, open_people(settings, units))
    for login in people:
        roles = PEOPLE[login]
        account = running.people.manage.add(
            login, login.capitalize(), roles, actor=Actor("tests", Role.ADMIN), password=PASSWORD
        )
        running.pseudonyms[login] = account.pseudonym
    log = (home / "app.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.app"],
        env={**os.environ, **values},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        with _detection_api(running, api_port):
            _wait_until_up(running.url, process, home / "app.log")
            yield running
    finally:
        process.terminate()
        process.wait(20)
        log.close()


# No longer than these tests: Playwright keeps an event loop running, in which others cannot start
# theirs.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def sign_in(app: App, chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a browser of its own for somebody, signed in; `errors` are what its console said."""
    contexts = []

    def open_page(login: str, at: App = app, size: tuple[int, int] = (1440, 900)) -> Any:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]})
        contexts.append(context)
        return signed_in_page(context, at, login)

    yield open_page
    for context in contexts:
        context.close()


def signed_in_page(context: Any, app: App, login: str) -> Any:
    """A page with the app, entered by a session made beside the form (which has its own test)."""
    with httpx.Client(base_url=app.url) as client:
        client.post("/sign-in", data={"login": login, "password": PASSWORD, "next": "/"})
        cookies = [
            {"name": cookie.name, "value": cookie.value, "url": app.url}
            for cookie in client.cookies.jar
        ]
    assert cookies, f"{login} was not let in"
    context.add_cookies(cookies)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(app.url)
    return page


@contextmanager
def _detection_api(running: App, port: int) -> Iterator[None]:
    """Answers as the real one: it stores and queues, and sees the same two boxes everywhere."""
    api = FastAPI()

    @api.post("/v1/images")
    async def images(request: Request) -> dict[str, Any]:
        form = await request.form() if "multipart" in request.headers["content-type"] else None
        data = await form["image"].read() if form else await request.body()  # type: ignore[union-attr]
        clean = sanitise(data, Limits(10**8, 10**8))
        new = NewImage(clean.data, clean.media_type, clean.width, clean.height)
        detections = found((4, 4, 40, 40, 0, 0.9), (10, 50, 50, 90, 1, 0.5))
        queued = queue_image(
            running.units, running.images, new, model=MODEL, detections=detections, actor=API
        )
        return {
            "model": MODEL.as_dict(),
            "width": clean.width,
            "height": clean.height,
            "detections": [
                d.as_dict() | {"class_name": CLASSES.names[d.class_id]} for d in detections
            ],
            "image_id": queued.image_id,
            "prediction_id": queued.prediction_id,
            "review_id": queued.review_id,
        }

    server = uvicorn.Server(uvicorn.Config(api, "127.0.0.1", port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/healthz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"The app did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

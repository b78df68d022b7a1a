from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from loop.cases import CaseState
from loop.errors import Unavailable
from store.image_codec import Limits
from store.settings import load_settings
from tests.ui.conftest import answering, case, detection, found, units_of
from ui.app import build_ui
from ui.page import _detector, _queue

LIMITS = Limits(1_000_000, 1_000_000)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = load_settings(tmp_path_factory.mktemp("home"))
    with TestClient(build_ui(settings, units_of(), answering(200, found()))) as client:
        yield client


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image.png"
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(out, "PNG")
    path.write_bytes(out.getvalue())
    return str(path)


def test_the_page_opens_and_asks_for_nothing_from_outside(page: TestClient) -> None:
    html = page.get("/").text
    assert "Second Look" in html
    for text in (html, page.get("/theme.css").text, page.get("/config").text):
        assert "fonts.googleapis" not in text
        assert "fonts.gstatic" not in text
    config = page.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["show_error"] is False


def test_no_function_of_the_page_is_offered_as_an_api(page: TestClient) -> None:
    assert page.get("/gradio_api/info").json()["named_endpoints"] == {}


@pytest.mark.parametrize("path", ["pyproject.toml", "/etc/passwd", "ui/app.py"])
def test_files_of_the_machine_are_not_served(page: TestClient, path: str) -> None:
    assert page.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_an_uploaded_image_comes_back_with_its_boxes(image: str) -> None:
    detect = _detector(answering(200, found(detection(1))), LIMITS)
    message, picture, rows = detect(image)
    assert "1 detection" in message
    assert "version 7" in message
    assert picture is not None
    assert picture.size == (60, 40)
    assert len(rows) == 1


def test_clearing_the_upload_clears_the_answer() -> None:
    message, picture, rows = _detector(answering(200, found()), LIMITS)(None)
    assert message.startswith("Upload")
    assert picture is None
    assert rows == []


def test_an_api_that_is_down_is_a_message_on_the_page(api_down: httpx.Client, image: str) -> None:
    message, picture, rows = _detector(api_down, LIMITS)(image)
    assert "does not answer" in message
    assert "secondlook up" in message
    assert picture is None
    assert rows == []


def test_both_queues_are_listed() -> None:
    units = units_of(
        case(1, CaseState.FIRST, "new_prediction"), case(2, CaseState.SECOND, "missed")
    )
    first_heading, first, _, second = _queue(units)()
    assert first_heading == "1 waiting."
    assert first[0][2] == "new image"
    assert second[0][2] == "the model missed a box"


def test_a_database_that_is_away_is_a_message_on_the_page() -> None:
    def units() -> object:
        raise Unavailable("The database does not answer.", hint="Start it.")

    heading, rows, *_ = _queue(units)()
    assert re.search("database does not answer.*Start it", heading)
    assert rows == []

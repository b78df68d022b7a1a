"""The app as a whole, in process and without a browser: what it serves, and how it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cluster.app import open_app
from loop.events import Actor, Role
from store.settings import load_settings
from store.unit_of_work import open_units_of_work
from ui.static_files import FOLDER, static_path

_PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app of a fresh home, with an engineer signed in."""
    settings = load_settings(tmp_path_factory.mktemp("home"))
    with open_app(settings) as app, TestClient(app, base_url=settings.app_url) as client:
        from ui.sessions import open_people

        people = open_people(settings, open_units_of_work(settings))
        admin = Actor("tests", Role.ADMIN)
        people.manage.add("eva", "Eva", [Role.ENGINEER], actor=admin, password=_PASSWORD)
        form = {"login": "eva", "password": _PASSWORD}
        assert client.post("/sign-in", data=form, follow_redirects=False).status_code == 303
        yield client


def test_the_page_opens_and_asks_for_nothing_from_outside(client: TestClient) -> None:
    html = client.get("/").text
    assert "Second Look" in html
    for text in (html, client.get("/theme.css").text, client.get("/config").text):
        assert "fonts.googleapis" not in text
        assert "fonts.gstatic" not in text
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["show_error"] is False


def test_no_function_of_the_page_is_offered_as_an_api(client: TestClient) -> None:
    assert client.get("/gradio_api/info").json()["named_endpoints"] == {}


@pytest.mark.parametrize("path", ["pyproject.toml", "/etc/passwd", "ui/app.py"])
def test_files_of_the_machine_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_nothing_can_be_put_into_gradios_cache(client: TestClient) -> None:
    files = {"files": ("a.png", b"x" * 100, "image/png")}
    assert client.post("/gradio_api/upload", files=files).status_code == 413


def test_scripts_and_styles_are_served_under_a_path_that_names_their_content(
    client: TestClient,
) -> None:
    path = static_path()
    for name in ("desk.mjs", "canvas.mjs", "uploads.mjs", "header.mjs", "desk.css", "page.css"):
        answer = client.get(f"{path}/{name}")
        assert answer.status_code == 200
        assert answer.text == (FOLDER / name).read_text(encoding="utf-8")
        assert "immutable" in answer.headers["cache-control"]
    assert client.get(f"{path}/../app.py").status_code == 404
    assert client.get(f"{path}/nothing.mjs").status_code == 404
    html = client.get("/").text
    assert f"{path}/desk.css" in html


def test_what_the_page_begins_with_names_no_class_where_there_is_none(client: TestClient) -> None:
    me = client.get("/desk/me").json()
    assert me["name"] == "Eva"
    assert me["pseudonym"].startswith("person-")
    assert me["classes"] == []
    assert me["works"] == []


def test_a_body_that_is_not_understood_is_an_error_with_what_to_do(client: TestClient) -> None:
    for body in ({}, {"tab": ""}, {"tab": "t", "order": "loudest"}, {"tab": "t", "more": 1}):
        answer = client.post("/desk/next", json=body)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error["code"] == "validation"
        assert error["hint"]
    assert client.post("/desk/next", content=b"{").status_code == 422


def test_the_app_says_that_it_is_up_to_anybody(client: TestClient, tmp_path: Path) -> None:
    with TestClient(client.app, base_url=str(client.base_url)) as nobody:
        assert nobody.get("/healthz").json() == {"status": "ok"}
        assert nobody.get("/desk/me").status_code == 401

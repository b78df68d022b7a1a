from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from loop.errors import InvalidInput, TooLarge, Unavailable
from loop.events import Role
from store.image_codec import Limits
from tests.fakes import FakeDatabase, sealed
from tests.ui.conftest import detection, found
from tests.ui.people import person_of, signed_in
from ui.errors import install_error_handlers
from ui.routes.bodies import limited
from ui.routes.uploads import router
from ui.upload_tab import build_uploads

MAX_BYTES = 1000
REVIEWER = signed_in(Role.REVIEWER)
ERROR = {"code": "truncated", "message": "The image is cut off.", "hint": "Send it again."}


class Api:
    """Stands in for the detection API; ``answer`` says what it does with a request."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(
            200, json=found(detection(1), detection(2))
        )

    def refuse(self, status: int, body: Any) -> None:
        self.answer = lambda _: httpx.Response(status, json=body)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return self.answer(request)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def app(api: Api, database: FakeDatabase) -> FastAPI:
    client = httpx.AsyncClient(base_url="http://api.test", transport=httpx.MockTransport(api))
    app = FastAPI()
    install_error_handlers(app)
    limits = Limits(MAX_BYTES, 10**6)
    app.include_router(
        router(client=client, limits=limits, units=database.units, person_of=person_of)
    )
    return app


@pytest.fixture
def page(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def upload(page: TestClient, image: bytes = b"image", **more: Any) -> httpx.Response:
    more = {"headers": REVIEWER, "files": {"image": ("image", image)}} | more
    response: httpx.Response = page.post("/desk/uploads", **more)
    return response


def error_of(response: httpx.Response) -> dict[str, str]:
    error: dict[str, str] = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["message"]
    assert error["hint"]
    return error


def test_the_form_goes_to_the_api_as_it_came(page: TestClient, api: Api) -> None:
    response = upload(page, b"as uploaded", data={"subject": "slide 7"})
    assert response.status_code == 200
    assert response.json() == {
        "image_id": "a" * 64,
        "review_id": "c" * 32,
        "detections": 2,
        "model": "detector:7",
    }
    (asked,) = api.asked
    assert asked.url.path == "/v1/images"
    assert asked.url.params["source"] == "reviewers-app"
    assert asked.content == response.request.content
    assert asked.headers["content-type"] == response.request.headers["content-type"]
    assert b"as uploaded" in asked.content
    assert b"slide 7" in asked.content


def test_the_audit_log_says_who_uploaded_and_under_which_request(
    page: TestClient, api: Api, database: FakeDatabase
) -> None:
    response = upload(page)
    (event,) = database.events
    assert event.type == "image.uploaded"
    assert (event.actor.pseudonym, event.actor.role) == ("person-ada", Role.REVIEWER)
    assert event.subject == {"image": sealed("a" * 64), "review_id": "c" * 32}
    assert event.details == {"detections": 2}
    assert event.request_id == api.asked[0].headers["x-request-id"]
    assert event.request_id == response.headers["x-request-id"]


def test_nobody_uploads_without_signing_in(page: TestClient, api: Api) -> None:
    assert upload(page, headers={}).status_code == 401
    assert api.asked == []


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.ADMIN])
def test_roles_that_submit_no_images_are_refused(page: TestClient, api: Api, role: Role) -> None:
    assert error_of(upload(page, headers=signed_in(role)))["code"] == "not_allowed"
    assert api.asked == []


@pytest.mark.parametrize("status", [409, 413, 415, 422, 503])
def test_what_the_api_refuses_is_passed_on_word_for_word(
    page: TestClient, api: Api, database: FakeDatabase, status: int
) -> None:
    api.refuse(status, {"error": ERROR})
    response = upload(page)
    assert response.status_code == status
    assert error_of(response) == ERROR
    assert database.events == []


@pytest.mark.parametrize(
    ("status", "passed_on"), [(400, 422), (401, 503), (403, 503), (429, 503), (500, 503)]
)
def test_the_apis_other_refusals_are_not_taken_for_the_apps_own(
    page: TestClient, api: Api, status: int, passed_on: int
) -> None:
    api.refuse(status, {"error": ERROR})
    assert upload(page).status_code == passed_on


@pytest.mark.parametrize("body", [None, [], {"error": "text"}, {"model": {}}, {"detections": 3}])
@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_of_something_else_is_an_error_in_words(
    page: TestClient, api: Api, status: int, body: Any
) -> None:
    api.refuse(status, body)
    response = upload(page)
    assert response.status_code == 503
    assert "listening" in error_of(response)["hint"]


def test_an_api_that_is_down_is_said_with_what_to_do(page: TestClient, api: Api) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    api.answer = down
    response = upload(page)
    assert response.status_code == 503
    assert "secondlook up" in error_of(response)["hint"]


def test_an_image_beyond_the_limit_is_refused_before_it_is_read(page: TestClient, api: Api) -> None:
    response = upload(page, b"x" * (MAX_BYTES + 70_000))
    assert response.status_code == 413
    assert error_of(response)["code"] == "too_many_bytes"
    assert api.asked == []


def test_what_is_no_form_is_refused(page: TestClient, api: Api) -> None:
    response = page.post(
        "/desk/uploads", content=b"image", headers={**REVIEWER, "content-type": "image/png"}
    )
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_media_type"
    assert api.asked == []


def test_an_upload_that_cannot_be_recorded_fails_and_may_be_sent_again(
    page: TestClient, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> Any:
        raise Unavailable("The database does not answer.", hint="Start it.")

    with monkeypatch.context() as away:
        away.setattr("tests.fakes.FakeUnitOfWork.commit", lambda _: down())
        assert upload(page).status_code == 503
    assert upload(page).status_code == 200
    assert len(database.events) == 1


def body_of(*messages: dict[str, Any], length: str = "") -> Request:
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else await asyncio.Future()

    headers = [(b"content-length", length.encode())] if length else []
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def part(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def read(request: Request, max_bytes: int = 10, stalled_seconds: float = 5) -> bytes:
    pieces = limited(request, max_bytes, TooLarge("Too large."), stalled_seconds)
    return b"".join([piece async for piece in pieces])


def test_a_body_within_the_limit_comes_whole() -> None:
    request = body_of(part(b"12345"), part(b""), part(b"67890", more=False), length="10")
    assert asyncio.run(read(request)) == b"1234567890"


@pytest.mark.parametrize("length", ["", "3"])
def test_a_body_that_hides_its_length_is_cut_off_at_the_limit(length: str) -> None:
    with pytest.raises(TooLarge):
        asyncio.run(read(body_of(part(b"123456"), part(b"78901"), length=length)))


def test_a_body_that_announces_too_much_is_not_even_begun() -> None:
    with pytest.raises(TooLarge):
        asyncio.run(read(body_of(length="9" * 30)))


def test_a_line_that_gives_nothing_more_is_let_go() -> None:
    with pytest.raises(InvalidInput) as refusal:
        asyncio.run(read(body_of(part(b"1")), stalled_seconds=0))
    assert refusal.value.detail_code == "incomplete_upload"


def test_whoever_hangs_up_is_told_from_an_end() -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(read(body_of(part(b"1"), {"type": "http.disconnect"})))


def test_the_page_can_ask_what_need_not_be_sent(page: TestClient) -> None:
    assert page.get("/desk/uploads", headers=REVIEWER).json() == {"max_bytes": MAX_BYTES}
    assert page.get("/desk/uploads", headers=signed_in(Role.AUDITOR)).status_code == 403
    assert page.get("/desk/uploads").status_code == 401


def test_the_tab_loads_its_script_and_holds_no_data() -> None:
    config = build_uploads("/static/abc").get_config()
    assert "import('/static/abc/uploads.mjs')" in config["js_on_load"]
    assert config["value"] is None

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.websockets import WebSocketDisconnect

from loop.errors import NotSignedIn, Unavailable
from loop.events import Authentication, Role
from tests.people import ADMIN
from tests.ui.entrance import PAGE, Entrance
from ui.gate import local_path, person_of
from ui.static_files import static_path

SOCKET = "ws://127.0.0.1:7860/x"
INSIDE = [
    "/",
    "/desk/me",
    "/desk/images/abc",
    "/gradio_api/queue/join",
    "/gradio_api/openapi.json",
    "/config",
    "/theme.css",
    "/assets/index.js",
    "/login",
    "/sign-out",
    "/sign-in/",
    "/sign-in/x",
    "/welcome/..",
    "/auth/oidc",
    "/healthz/",
    "//healthz",
    "/static/sign-in.css",
    f"{static_path()}/page.css",
    "/%2e%2e/sign-in",
]


@pytest.fixture
def entrance(tmp_path: Path) -> Entrance:
    entrance = Entrance(tmp_path)
    entrance.house.add("ana")
    return entrance


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
@pytest.mark.parametrize("path", INSIDE)
def test_nothing_answers_who_is_not_signed_in(entrance: Entrance, path: str, method: str) -> None:
    response = entrance.client().request(method, path)
    assert response.status_code == 401
    if method != "HEAD":
        error = response.json()["error"]
        assert error["code"] == "not_signed_in"
        assert error["hint"]


@pytest.mark.parametrize("path", INSIDE)
def test_a_browser_that_opens_a_page_is_led_to_the_sign_in(entrance: Entrance, path: str) -> None:
    response = entrance.client().get(path, headers=PAGE)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/sign-in")


def test_the_way_to_the_sign_in_remembers_the_page(entrance: Entrance) -> None:
    response = entrance.client().get("/gradio/page?case=1&x=a b", headers=PAGE)
    location = response.headers["location"]
    assert location == "/sign-in?next=" + quote("/gradio/page?case=1&x=a%20b", safe="/")


def test_only_pages_are_led_to_the_sign_in(entrance: Entrance) -> None:
    assert entrance.client().post("/page", headers=PAGE).status_code == 401
    assert entrance.client().get("/page", headers={"accept": "*/*"}).status_code == 401


def test_who_signs_out_after_the_session_ended_is_led_to_the_sign_in(entrance: Entrance) -> None:
    response = entrance.client().post("/sign-out", headers=PAGE)
    assert response.status_code == 303
    assert response.headers["location"] == "/sign-in"


def test_a_websocket_is_closed_to_who_is_not_signed_in(entrance: Entrance) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        entrance.client().websocket_connect("/gradio_api/stream"),
    ):
        pass


def test_who_is_signed_in_is_let_in_by_name(entrance: Entrance) -> None:
    client = entrance.signed_in()
    ana = next(iter(entrance.house.database.tables.accounts.values()))
    assert client.get("/desk/me").json()["pseudonym"] == ana.pseudonym
    with client.websocket_connect("/gradio_api/stream") as socket:
        assert ana.pseudonym in socket.receive_text()


def test_what_is_open_needs_no_session(entrance: Entrance) -> None:
    for path in ("/healthz", "/sign-in", f"{static_path()}/sign-in.css"):
        response = entrance.client().get(path, headers=PAGE)
        assert response.status_code == 200
        assert "inside" not in response.text


def test_a_link_that_is_no_link_is_open_and_leads_nowhere(entrance: Entrance) -> None:
    response = entrance.client().get("/welcome?token=made-up", headers=PAGE)
    assert response.status_code == 401
    assert "no longer good" in response.text


def test_the_providers_paths_are_open_only_where_there_is_one(
    entrance: Entrance, tmp_path: Path
) -> None:
    for path in ("/auth/oidc/start", "/auth/oidc/callback"):
        assert entrance.client().get(path).json()["error"]["code"] == "not_signed_in"
    provided = Entrance(tmp_path, oidc_issuer="http://127.0.0.1:1", oidc_client_id="second-look")
    for path, status in (("/auth/oidc/start", 503), ("/auth/oidc/callback", 503)):
        response = provided.client().get(path)
        assert response.status_code == status
        assert "does not answer" in response.text


def test_a_cookie_that_was_tampered_with_is_none(entrance: Entrance) -> None:
    client = entrance.signed_in()
    name = entrance.people.cookie.name
    value = client.cookies[name]
    token, _, signature = value.partition(".")
    other = "B" if token[0] != "B" else "C"
    for wrong in (
        other + value[1:],
        token,
        f"{token}.",
        f".{signature}",
        f"{token}.{signature[:-1]}",
        f"{value}=",
        f"{value}.",
        "x",
        "é",
        "",
    ):
        headers = {"cookie": f"{name}={wrong}".encode()}
        assert entrance.client().get("/desk/me", headers=headers).status_code == 401, wrong
    headers = {"cookie": f"{name}={value}"}
    assert entrance.client().get("/desk/me", headers=headers).status_code == 200


def test_a_token_signed_with_another_homes_key_is_none(entrance: Entrance, tmp_path: Path) -> None:
    stranger = Entrance(tmp_path / "other")
    stranger.house.database = entrance.house.database
    client = entrance.client()
    token = entrance.people.sign_in("ana", "a long sentence of mine")
    client.cookies.set("secondlook_session", stranger.people.cookie._keys.sign(token))
    assert client.get("/desk/me").status_code == 401


def test_several_app_servers_share_a_key_by_setting(tmp_path: Path) -> None:
    one, other = (Entrance(tmp_path / name, session_key="k" * 32) for name in "ab")
    signed = one.people.cookie._keys.sign("token")
    assert other.people.cookie._keys.signed(signed) == "token"


@pytest.mark.parametrize("how", ["idle", "old", "ended", "disabled", "new link"])
def test_a_session_that_is_over_opens_nothing(entrance: Entrance, how: str) -> None:
    client = entrance.signed_in()
    assert client.get("/desk/me").status_code == 200
    house = entrance.house
    if how == "idle":
        house.wait(hours=13)
    elif how == "old":
        house.wait(days=8)
    elif how == "ended":
        cookie = client.cookies[entrance.people.cookie.name]
        other = entrance.client()
        other.cookies.set(entrance.people.cookie.name, cookie)
        assert other.post("/sign-out").status_code == 303
    elif how == "disabled":
        house.manage.disable("ana", actor=ADMIN)
    else:
        house.manage.new_link("ana", actor=ADMIN)
    assert client.get("/desk/me").status_code == 401


def test_a_change_of_roles_counts_from_the_next_request_on(entrance: Entrance) -> None:
    client = entrance.signed_in()
    for role in (Role.REVIEWER, Role.AUDITOR):
        entrance.house.manage.change_roles("ana", {role}, actor=ADMIN)
        assert client.get("/desk/me").json()["roles"] == [role.value]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "http://127.0.0.1:5001"},  # MLflow, which is same-site
        {"origin": "https://127.0.0.1:7860"},
        {"origin": "http://127.0.0.1:7860.evil.test"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:7860"},
    ],
    ids=str,
)
def test_another_site_cannot_change_anything(entrance: Entrance, headers: dict[str, str]) -> None:
    client = entrance.signed_in()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = client.request(method, "/desk/next", headers=headers)
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "cross_site"
    # Signing somebody in as somebody else is a change too.
    assert client.post("/sign-in", headers=headers).status_code == 403
    assert client.get("/desk/me", headers=headers).status_code == 200
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers=headers):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:7860"},
        {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_our_own_pages_and_programs_may(entrance: Entrance, headers: dict[str, str]) -> None:
    client = entrance.signed_in()
    assert client.post("/desk/next", headers=headers).status_code == 200
    with client.websocket_connect(SOCKET, headers=headers) as socket:
        assert socket.receive_text()


def test_behind_a_proxy_the_public_address_counts(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path, public_url="https://look.test/")
    entrance.house.add("ana")
    client = entrance.signed_in()
    inner = {"host": "127.0.0.1:7860"}
    own = client.post("/desk/next", headers={**inner, "origin": "https://look.test"})
    other = client.post("/desk/next", headers={**inner, "origin": "https://look.test:81"})
    assert (own.status_code, other.status_code) == (200, 403)


@pytest.mark.parametrize("path", ["/desk/me", "/page", "/image", "/sign-in", "/not-signed-in"])
def test_every_answer_has_the_security_headers(entrance: Entrance, path: str) -> None:
    client = entrance.signed_in() if path in ("/desk/me", "/page", "/image") else entrance.client()
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "https:" not in headers["content-security-policy"]
    assert headers.get("cache-control") == (None if path == "/image" else "no-store")


def test_a_database_that_does_not_answer_lets_nobody_in(entrance: Entrance) -> None:
    client = entrance.signed_in()

    def away() -> None:
        raise Unavailable("The database does not answer.")

    object.__setattr__(entrance.people.sessions, "_units", away)
    response = client.get("/desk/me")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/a\\b",
        "evil.test",
        "javascript:alert(1)",
        "",
    ],
)
def test_the_way_after_the_sign_in_never_leaves_the_app(path: str) -> None:
    assert local_path(path) == "/"


@pytest.mark.parametrize("path", ["/", "/?tab=people", "/a/b?c=d#e", "/%2F/x"])
def test_the_way_after_the_sign_in_is_kept(path: str) -> None:
    assert local_path(path) == path


def test_the_person_is_found_in_any_kind_of_request(entrance: Entrance) -> None:
    account = next(iter(entrance.house.database.tables.accounts.values()))
    ana = account.person(Authentication.PASSWORD)
    scope = {"type": "http", "headers": [], "state": {"person": ana}}
    assert person_of(Request(scope)) == ana
    assert person_of(gr.Request(Request(scope))) == ana
    for nobody in (
        Request({"type": "http", "headers": []}),
        Request({"type": "http", "headers": [], "state": {"person": None}}),
        gr.Request(),
        gr.Request(Request({"type": "http", "headers": []})),
        SimpleNamespace(state=SimpleNamespace(person="ana")),
        None,
    ):
        with pytest.raises(NotSignedIn):
            person_of(nobody)  # type: ignore[arg-type]


def test_a_request_cannot_bring_its_own_person(entrance: Entrance) -> None:
    client: TestClient = entrance.client()
    response = client.get("/desk/me?person=ana", headers={"x-person": "ana", "state": "ana"})
    assert response.status_code == 401

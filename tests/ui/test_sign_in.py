from __future__ import annotations

import re
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest

from loop.errors import Misconfigured
from loop.events import Role
from tests.people import ADMIN, PASSWORD
from tests.ui.entrance import Entrance
from ui.sessions import open_people


@pytest.fixture
def entrance(tmp_path: Path) -> Entrance:
    entrance = Entrance(tmp_path)
    entrance.house.add("ana")
    return entrance


def cookie(response: Any) -> dict[str, Any]:
    """The session's cookie as the answer sets it: its name, and what it may do."""
    jar = SimpleCookie(response.headers["set-cookie"])
    ((name, morsel),) = jar.items()
    return {"name": name, "value": morsel.value, **{k: v for k, v in morsel.items() if v}}


def fields(html: str) -> dict[str, str]:
    found = re.findall(r'<input [^>]*?name="([^"]*)"[^>]*?value="([^"]*)"', html)
    return dict(found)


def first_link(entrance: Entrance) -> str:
    link = entrance.people.invitations.first_admin(ADMIN)
    assert link is not None
    return link


def test_the_right_password_leads_on_with_a_cookie(entrance: Entrance) -> None:
    client = entrance.client()
    form = {"login": "Ana", "password": PASSWORD, "next": "/?tab=progress"}
    response = client.post("/sign-in", data=form)
    assert response.status_code == 303
    assert response.headers["location"] == "/?tab=progress"
    assert cookie(response).keys() == {
        "name",
        "value",
        "httponly",
        "samesite",
        "path",
        "max-age",
    }
    assert cookie(response)["name"] == "secondlook_session"
    assert cookie(response)["samesite"].lower() == "lax"
    assert cookie(response)["path"] == "/"
    assert client.get("/desk/me").status_code == 200


def test_over_https_the_cookie_is_bound_to_this_host(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path, public_url="https://look.test")
    entrance.house.add("ana")
    client = entrance.client()
    response = client.post("/sign-in", data={"login": "ana", "password": PASSWORD})
    assert cookie(response)["name"] == "__Host-secondlook_session"
    assert cookie(response)["secure"]
    assert "domain" not in cookie(response)
    assert client.get("/desk/me").status_code == 200


def test_a_refusal_is_said_on_the_page_and_the_login_is_kept(entrance: Entrance) -> None:
    form = {"login": '"><script>', "password": "wrong wrong wrong", "next": "/case"}
    response = entrance.client().post("/sign-in", data=form)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert "The login or the password is wrong" in response.text
    assert "<script>" not in response.text
    assert "wrong wrong wrong" not in response.text
    assert fields(response.text) == {"next": "/case", "login": "&quot;&gt;&lt;script&gt;"}


@pytest.mark.parametrize("next_path", ["//evil.test", "https://evil.test", "/\\evil.test"])
def test_the_way_on_never_leads_to_another_site(entrance: Entrance, next_path: str) -> None:
    client = entrance.client()
    page = client.get("/sign-in", params={"next": next_path})
    assert "evil" not in page.text
    form = {"login": "ana", "password": PASSWORD, "next": next_path}
    assert client.post("/sign-in", data=form).headers["location"] == "/"
    signed_in = client.get("/sign-in", params={"next": next_path})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")


def test_the_page_says_what_password_managers_need(entrance: Entrance) -> None:
    html = entrance.client().get("/sign-in").text
    assert 'autocomplete="username"' in html
    assert 'autocomplete="current-password"' in html
    assert "<script" not in html
    (stylesheet,) = re.findall('<link rel="stylesheet" href="([^"]*)">', html)
    assert entrance.client().get(stylesheet).headers["content-type"].startswith("text/css")


def test_signing_out_ends_the_session_and_takes_the_cookie(entrance: Entrance) -> None:
    client = entrance.signed_in()
    value = client.cookies["secondlook_session"]
    response = client.post("/sign-out")
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert cookie(response)["max-age"] == "0"
    client.cookies.set("secondlook_session", value)
    assert client.get("/desk/me").status_code == 401
    assert entrance.house.events("session.ended")


def test_signing_in_again_leaves_no_session_behind(entrance: Entrance) -> None:
    client = entrance.client()
    for _ in range(2):
        client.post("/sign-in", data={"login": "ana", "password": PASSWORD})
    assert len(entrance.house.database.tables.sessions) == 1


def test_a_form_that_is_none_is_refused_before_it_is_read(entrance: Entrance) -> None:
    client = entrance.client()
    assert client.post("/sign-in", content=b"x" * 20_000).status_code == 413
    assert client.post("/sign-in", content=b"login=%ff").status_code in (401, 422)
    assert client.post("/sign-in", content=b"login=\xff").status_code == 422
    assert client.post("/sign-in", content=b"a=1&" * 20).status_code == 422
    assert client.post("/sign-in").status_code == 401


def test_the_first_admin_comes_in_by_a_link(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path)
    link, client = first_link(entrance), entrance.client()
    page = client.get("/welcome", params={"token": link})
    assert page.status_code == 200
    assert fields(page.text) == {"token": link}
    form = {"token": link, "login": "ana", "name": "Ana", "password": PASSWORD, "again": PASSWORD}
    response = client.post("/welcome", data=form)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    me = client.get("/desk/me").json()
    assert me["roles"] == sorted(["adjudicator", "admin", "auditor", "engineer", "reviewer"])


def test_a_link_is_used_up_by_the_form_and_not_by_a_look(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path)
    link = first_link(entrance)
    for _ in range(2):
        assert entrance.client().get(f"/welcome?token={link}").status_code == 200
        assert entrance.client().head(f"/welcome?token={link}").status_code in (200, 405)
    form = {"token": link, "login": "ana", "name": "Ana", "password": PASSWORD, "again": PASSWORD}
    assert entrance.client().post("/welcome", data=form).status_code == 303
    again = {**form, "login": "eve"}
    for response in (
        entrance.client().post("/welcome", data=again),
        entrance.client().get(f"/welcome?token={link}"),
    ):
        assert response.status_code == 401
        assert "no longer good" in response.text
        assert "set-cookie" not in response.headers
    assert len(entrance.house.database.tables.accounts) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "short", "again": "short"}, "fewer than 12"),
        ({"again": "another sentence"}, "differ"),
        ({"login": "with space"}, "no spaces"),
        ({"name": ""}, "A name has"),
        ({"login": "long-enough-login", "password": "LONG-enough-login"}, ""),
    ],
)
def test_what_cannot_be_is_said_on_the_page_and_the_link_stays_good(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    entrance = Entrance(tmp_path)
    link, client = first_link(entrance), entrance.client()
    good = {"token": link, "login": "ana", "name": "Ana", "password": PASSWORD, "again": PASSWORD}
    form = {**good, **change}
    response = client.post("/welcome", data=form)
    assert response.status_code == 422
    assert says in response.text
    kept = fields(response.text)
    assert kept["token"] == link
    assert kept.get("login", "") == form["login"]
    assert "password" not in kept
    assert client.post("/welcome", data=good).status_code == 303


def test_an_invited_person_sees_who_it_is_for(entrance: Entrance) -> None:
    link = entrance.people.manage.invite("ben", "Ben & Co", {Role.REVIEWER}, actor=ADMIN)
    page = entrance.client().get(f"/welcome?token={link}")
    assert "Welcome, Ben &amp; Co" in page.text
    assert fields(page.text)["login"] == "ben"
    assert 'name="name"' not in page.text


def test_where_passwords_are_off_there_is_no_form_and_none_is_taken(tmp_path: Path) -> None:
    provider = {"oidc_issuer": "https://id.test", "oidc_client_id": "x", "oidc_name": "The Lab"}
    entrance = Entrance(tmp_path, password_sign_in=False, **provider)
    entrance.house.add("ana")
    client = entrance.client()
    page = client.get("/sign-in?next=/case").text
    assert "Sign in with The Lab" in page
    assert "/auth/oidc/start?next=%2Fcase" in page
    assert "<form" not in page
    refused = client.post("/sign-in", data={"login": "ana", "password": PASSWORD})
    assert refused.status_code == 403
    link = entrance.people.manage.invite("ben", "Ben", {Role.REVIEWER}, actor=ADMIN)
    form = {"token": link, "password": PASSWORD, "again": PASSWORD}
    assert client.post("/welcome", data=form).status_code == 403
    assert not entrance.house.database.tables.sessions


def test_where_nobody_could_sign_in_the_app_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="PASSWORD_SIGN_IN"):
        Entrance(tmp_path, password_sign_in=False)
    with pytest.raises(Misconfigured, match="CLIENT_ID"):
        Entrance(tmp_path, oidc_issuer="https://id.test")
    with pytest.raises(Misconfigured, match="SESSION_KEY"):
        Entrance(tmp_path, session_key="short")


def test_an_app_with_real_hashes_lets_the_right_people_in(entrance: Entrance) -> None:
    people = open_people(entrance.settings, entrance.house.units, clock=entrance.house.clock)
    people.manage.add("ben", "Ben", {Role.REVIEWER}, PASSWORD, actor=ADMIN)
    assert people.person(people.sign_in("ben", PASSWORD)) is not None

"""Sign-in by OpenID Connect, against a certified provider that runs as a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from loop.errors import Misconfigured
from loop.events import Role
from store.settings import load_settings
from tests.people import ADMIN
from tests.ui.entrance import Entrance
from ui.oidc import ProviderSignIn, _roles

ROOT = Path(__file__).parents[2]
APP = "http://127.0.0.1:7860"
CALLBACK = f"{APP}/auth/oidc/callback"
PEOPLE = {
    "1": {"name": "Ana María", "preferred_username": "ana", "roles": ["reviewer", "auditor"]},
    "2": {"name": "Ben", "preferred_username": "ana", "roles": ["pilot", "system"]},
    "3": {"name": "Eva", "preferred_username": "eva"},
    "4": {"name": "Kim", "realm_access": {"roles": ["engineer", "offline_access"]}},
}


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "oidc-provider").exists():
        pytest.skip("the provider needs Node, and node_modules/oidc-provider (npm ci)")
    configuration = json.dumps({"redirect_uri": CALLBACK, "people": PEOPLE})
    with subprocess.Popen(
        [node, str(ROOT / "tests" / "oidc" / "provider.mjs"), configuration],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def entrance(provider: dict[str, str], tmp_path: Path) -> Entrance:
    return made(tmp_path, provider)


def made(home: Path, provider: dict[str, str], **settings: Any) -> Entrance:
    return Entrance(
        home,
        **{
            "oidc_issuer": provider["issuer"],
            "oidc_client_id": provider["client_id"],
            "oidc_client_secret": provider["client_secret"],
            **settings,
        },
    )


class Browser:
    """Goes back and forth between the app and the provider as a person's browser does."""

    def __init__(self, entrance: Entrance) -> None:
        self.app = entrance.client()
        self.provider = httpx.Client(trust_env=False)

    def open(self, url: str) -> Any:
        """Follow redirects until there is a page."""
        for _ in range(12):
            response = self.client(url).get(url)
            if not response.is_redirect:
                return response
            url = str(httpx.URL(url).join(response.headers["location"]))
            if url.startswith(f"{APP}/") and not url.startswith(CALLBACK):
                return response
        raise AssertionError(f"It goes round in circles: {url}")

    def client(self, url: str) -> Any:
        return self.app if url.startswith(APP) else self.provider

    def submit(self, page: httpx.Response, **typed: str) -> str:
        """Fill in the form on the provider's page; where it leads."""
        (action,) = re.findall(r'<form [^>]*action="([^"]*)"', page.text)
        hidden = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page.text))
        response = self.provider.post(action, data={**hidden, **typed})
        assert response.is_redirect, response.text
        return str(httpx.URL(action).join(response.headers["location"]))

    def until_consent(self, subject: str, next_path: str = "/") -> httpx.Response:
        page = self.open(f"{APP}/auth/oidc/start?next={next_path}")
        consent: httpx.Response = self.open(self.submit(page, login=subject, password="any"))
        return consent

    def sign_in(self, subject: str, next_path: str = "/") -> Any:
        """The app's answer when the provider has sent the browser back."""
        return self.open(self.submit(self.until_consent(subject, next_path)))

    def callback(self, subject: str) -> str:
        """The address that the provider sends the browser back to, which is not opened."""
        url = self.submit(self.until_consent(subject))
        while not url.startswith(CALLBACK):
            url = self.provider.get(url).headers["location"]
        return url


def why(entrance: Entrance) -> list[str]:
    return [event.details["why"] for event in entrance.house.events("session.refused")]


def refused(entrance: Entrance, response: Any, reason: str, status: int = 401) -> None:
    assert response.status_code == status
    assert "Not let in" in response.text
    assert "/sign-in" in response.text
    assert why(entrance) == [reason]
    assert entrance.people.cookie.name not in response.headers.get("set-cookie", "")
    assert not entrance.house.database.tables.sessions


def test_a_person_signs_in_with_the_provider(entrance: Entrance) -> None:
    browser = Browser(entrance)
    response = browser.sign_in("1", "/case")
    assert (response.status_code, response.headers["location"]) == (303, "/case")
    me = browser.app.get(f"{APP}/desk/me").json()
    assert me["roles"] == ["auditor", "reviewer"]
    (account,) = entrance.house.database.tables.accounts.values()
    assert (account.login, account.name, account.subject) == ("ana", "Ana María", "1")
    assert me["pseudonym"] == account.pseudonym
    record = "".join(event.canonical().decode() for event in entrance.house.database.events)
    assert "ana" not in record.lower()


def test_the_flow_has_state_nonce_and_pkce(entrance: Entrance) -> None:
    response = entrance.client().get("/auth/oidc/start")
    asked = parse_qs(urlsplit(response.headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["redirect_uri"] == [CALLBACK]
    assert asked["code_challenge_method"] == ["S256"]
    for secret in ("state", "nonce", "code_challenge"):
        assert len(asked[secret][0]) >= 20
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/auth/oidc" in cookie


def test_the_second_sign_in_finds_the_account(entrance: Entrance) -> None:
    for _ in range(2):
        assert Browser(entrance).sign_in("1").status_code == 303
    assert len(entrance.house.database.tables.accounts) == 1


def test_roles_that_we_do_not_know_let_nobody_in(entrance: Entrance) -> None:
    browser = Browser(entrance)
    response = browser.sign_in("2")
    refused(entrance, response, "no_role")
    assert "has not given you a role" in response.text
    assert browser.app.get(f"{APP}/desk/me").status_code == 401


def test_a_default_role_lets_in_whom_the_provider_says_nothing_of(
    provider: dict[str, str], tmp_path: Path
) -> None:
    entrance = made(tmp_path, provider, oidc_default_role="reviewer")
    browser = Browser(entrance)
    assert browser.sign_in("3").status_code == 303
    assert browser.app.get(f"{APP}/desk/me").json()["roles"] == ["reviewer"]


def test_roles_may_lie_inside_of_a_claim(provider: dict[str, str], tmp_path: Path) -> None:
    entrance = made(tmp_path, provider, oidc_roles_claim="realm_access.roles")
    browser = Browser(entrance)
    assert browser.sign_in("4").status_code == 303
    assert browser.app.get(f"{APP}/desk/me").json()["roles"] == ["engineer"]


def test_without_a_claim_admins_give_the_roles(provider: dict[str, str], tmp_path: Path) -> None:
    entrance = made(tmp_path, provider, oidc_roles_claim="", oidc_default_role="reviewer")
    Browser(entrance).sign_in("1")
    entrance.people.manage.change_roles("ana", {Role.ADJUDICATOR}, actor=ADMIN)
    browser = Browser(entrance)
    browser.sign_in("1")
    assert browser.app.get(f"{APP}/desk/me").json()["roles"] == ["adjudicator"]


def test_a_disabled_account_stays_out(entrance: Entrance) -> None:
    Browser(entrance).sign_in("1")
    entrance.people.manage.disable("ana", actor=ADMIN)
    refused(entrance, Browser(entrance).sign_in("1"), "disabled")


def test_an_answer_works_once(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = browser.callback("1")
    before = dict(browser.app.cookies)
    assert browser.app.get(url).status_code == 303
    entrance.house.database.tables.sessions.clear()
    refused(entrance, browser.app.get(url), "state")
    # Nor with the cookie from before: the provider takes each code once.
    replaying = entrance.client()
    replaying.cookies.update(before)
    assert replaying.get(url).status_code == 401
    assert why(entrance) == ["state", "provider"]


def test_an_answer_is_for_the_browser_that_began(entrance: Entrance) -> None:
    url = Browser(entrance).callback("1")
    refused(entrance, entrance.client().get(url), "state")


def test_a_made_up_state_is_refused(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = browser.callback("1")
    state = parse_qs(urlsplit(url).query)["state"][0]
    refused(entrance, browser.app.get(url.replace(state, "x" * len(state))), "state")


def test_an_answer_that_names_another_issuer_is_refused(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = re.sub("iss=[^&]*", "iss=https%3A%2F%2Fevil.test", browser.callback("1"))
    refused(entrance, browser.app.get(url), "issuer")


def test_who_turns_back_at_the_provider_is_not_let_in(entrance: Entrance) -> None:
    browser = Browser(entrance)
    page = browser.until_consent("1")
    (abort,) = re.findall(r'href="([^"]*/abort)"', page.text)
    refused(entrance, browser.open(abort), "provider")


def test_a_token_that_somebody_else_signed_is_refused(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = browser.callback("1")
    client = sign_in_of(entrance)._client
    keys = httpx.get(client.server_metadata["jwks_uri"], trust_env=False).json()
    strangers = RSAKey.generate_key(2048).as_dict(private=False)
    for key in keys["keys"]:  # under the same id
        if key["kty"] == "RSA":
            key.update(n=strangers["n"], e=strangers["e"])
    client.server_metadata["jwks"] = keys
    refused(entrance, browser.app.get(url), "token")


def test_a_token_for_another_client_is_refused(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = browser.callback("1")
    sign_in = sign_in_of(entrance)
    fetch = sign_in._client.fetch_access_token

    async def fetch_then_forget(**kwargs: Any) -> Any:
        token = await fetch(**kwargs)
        sign_in._client.client_id = "another-client"
        return token

    sign_in._client.fetch_access_token = fetch_then_forget
    refused(entrance, browser.app.get(url), "token")


def test_claims_of_somebody_else_are_refused(entrance: Entrance) -> None:
    browser = Browser(entrance)
    url = browser.callback("1")

    async def userinfo(**_: Any) -> dict[str, Any]:
        return {"sub": "2", "roles": ["admin"]}

    sign_in_of(entrance)._client.userinfo = userinfo
    refused(entrance, browser.app.get(url), "other_subject")


def test_another_issuer_than_the_settings_name_is_refused(
    provider: dict[str, str], tmp_path: Path
) -> None:
    entrance = made(
        tmp_path, provider, oidc_issuer=provider["issuer"].replace("127.0.0.1", "localhost")
    )
    refused(entrance, entrance.client().get("/auth/oidc/start"), "issuer")
    assert entrance.client().get("/auth/oidc/start").status_code == 401


def test_a_wrong_client_secret_is_said(provider: dict[str, str], tmp_path: Path) -> None:
    entrance = made(tmp_path, provider, oidc_client_secret="wrong")
    refused(entrance, Browser(entrance).sign_in("1"), "provider")


def test_a_provider_that_is_away_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        issuer = f"http://127.0.0.1:{taken.getsockname()[1]}"
        entrance = made(
            tmp_path, {"issuer": issuer, "client_id": "second-look", "client_secret": "x"}
        )
        for path in ("/auth/oidc/start", "/auth/oidc/callback?code=x&state=y"):
            response = entrance.client().get(path)
            assert response.status_code == 503
            assert "does not answer" in response.text
    assert why(entrance) == ["provider_away", "provider_away"]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"roles": ["reviewer", "admin"]}, {Role.REVIEWER, Role.ADMIN}),
        ({"roles": "reviewer"}, {Role.REVIEWER}),
        ({"roles": "reviewer, auditor"}, {Role.REVIEWER, Role.AUDITOR}),
        ({"roles": ["system", "Reviewer", 7, None, {}]}, set()),
        ({"roles": {"reviewer": True}}, set()),
        ({"roles": None}, set()),
        ({}, set()),
    ],
)
def test_a_claim_gives_the_roles_that_we_know(claims: dict[str, Any], expected: set[Role]) -> None:
    assert _roles(claims, "roles") == expected


def test_a_claim_may_be_an_address_with_dots() -> None:
    assert _roles({"https://look.test/roles": ["admin"]}, "https://look.test/roles") == {Role.ADMIN}


def test_the_machines_role_is_nobodys_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_OIDC_DEFAULT_ROLE", "system")
    with pytest.raises(Misconfigured, match="SECONDLOOK_OIDC_DEFAULT_ROLE"):
        load_settings(tmp_path)


def sign_in_of(entrance: Entrance) -> ProviderSignIn:
    for route in entrance.app.router.routes:
        if getattr(route, "path", "") == "/auth/oidc/start":
            found: ProviderSignIn = route.endpoint.__self__  # type: ignore[attr-defined]
            return found
    raise AssertionError("The app has no provider.")

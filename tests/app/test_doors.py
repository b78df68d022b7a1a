"""Nobody comes in who may not: every route, handler and server function of the app, enumerated."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import uuid4

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from cluster.app import open_app
from loop.access import Permission, roles_with
from loop.events import Role
from tests.app.conftest import PASSWORD, PEOPLE, App
from ui.gate import HEALTH, METRICS, SIGN_IN, WELCOME
from ui.guard import GUARDED

# One account for each role that a person can have.
# OpenID Connect is off here, and its two paths are closed.
_OPEN = {HEALTH, SIGN_IN, WELCOME}
_LOGIN_OF = {roles[0]: login for login, roles in PEOPLE.items() if login != "cleo"}


@pytest.fixture(scope="module")
def built(app: App) -> Iterator[FastAPI]:
    """The same app as the running one, to be looked at rather than called."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with open_app(app.settings) as built:
        yield built


@pytest.fixture(scope="module")
def page(built: FastAPI) -> gr.Blocks:
    mount = next(route for route in built.routes if isinstance(route, Mount) and route.path == "")
    blocks: gr.Blocks = mount.app.get_blocks()  # type: ignore[attr-defined]
    return blocks


@contextmanager
def client_of(app: App, login: str | None) -> Iterator[httpx.Client]:
    """A client that is signed in as ``login``; passwords are slow, so each signs in once."""
    with httpx.Client(base_url=app.url, timeout=30) as client:
        if login is not None:
            client.cookies = session_of(app.url, login)
        yield client


@cache
def session_of(url: str, login: str) -> httpx.Cookies:
    with httpx.Client(base_url=url) as client:
        answer = client.post("/sign-in", data={"login": login, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client.cookies


def routes_of(router: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route below ``router``, whichever way it was included."""
    for route in getattr(router, "routes", ()):
        path = prefix + (getattr(route, "path", "") or getattr(route, "prefix", ""))
        nested = getattr(route, "app", None) if isinstance(route, Mount) else None
        inner = nested or getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and getattr(inner, "routes", None):
            yield from routes_of(inner, path)
            continue
        if isinstance(route, Mount):
            yield "GET", path + "/page.css"
            continue
        for method in getattr(route, "methods", None) or ():
            yield method, re.sub(r"\{[^}]*\}", "x", path)


def test_an_anonymous_caller_is_refused_on_every_route(app: App, built: FastAPI) -> None:
    routes = sorted(set(routes_of(built)))
    paths = {path for _, path in routes}
    # What would be missed if the walk went wrong.
    assert {"/desk/me", "/desk/cases/x/submit", "/desk/uploads", "/config"} <= paths
    assert any(path.endswith("/queue/join") for path in paths)
    assert any("component_server" in path for path in paths)
    with client_of(app, None) as nobody:
        for method, path in routes:
            if path in _OPEN:
                continue
            answer = nobody.request(method, path)
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            if method != "HEAD":
                code = "no_key" if path == METRICS else "not_signed_in"
                assert answer.json()["error"]["code"] == code


def test_what_nobody_has_made_is_refused_as_well(app: App) -> None:
    with client_of(app, None) as nobody:
        for path in ("/nothing", "/gradio_api/nothing", "/static/../secret", "/desk", "//x"):
            assert nobody.get(path).status_code == 401


def test_an_anonymous_caller_is_refused_at_every_handler_and_server_function(
    app: App, page: gr.Blocks
) -> None:
    with client_of(app, None) as nobody:
        for number in page.fns:
            body = {"data": [], "fn_index": number, "session_hash": "s"}
            for path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
                assert nobody.post(path, json=body).status_code == 401
        for block, function in server_functions(page):
            body = {"component_id": block, "fn_name": function, "data": None, "session_hash": "s"}
            answer = nobody.post("/gradio_api/component_server", json=body)
            assert answer.status_code == 401


def test_every_handler_asks_for_a_permission(page: gr.Blocks) -> None:
    unguarded = [
        fn.name for fn in page.fns.values() if fn.fn is not None and not hasattr(fn.fn, GUARDED)
    ]
    assert not unguarded
    assert len(page.fns) > 5


def test_no_handler_is_offered_as_an_api(page: gr.Blocks) -> None:
    offered = [fn.name for fn in page.fns.values() if fn.api_visibility != "private"]
    assert not offered


def test_the_page_has_no_server_function_of_ours_and_none_that_reads_files(page: gr.Blocks) -> None:
    # All that the page's scripts do goes through our own routes, which check who asks.
    assert server_functions(page) == []


@pytest.mark.parametrize("role", sorted(_LOGIN_OF))
def test_a_handler_refuses_who_has_not_its_permission(
    app: App, page: gr.Blocks, role: Role
) -> None:
    tried = 0
    with client_of(app, _LOGIN_OF[role]) as client:
        for number, fn in page.fns.items():
            permission = getattr(fn.fn, GUARDED, None)
            if permission is None or role in roles_with(permission):
                continue
            values = [getattr(block, "value", None) for block in fn.inputs]
            outcome = call(client, number, values)
            assert outcome["success"] is False, fn.name
            assert "permission" in (outcome["output"]["error"] or ""), (fn.name, values, outcome)
            tried += 1
    assert tried or role is Role.ENGINEER


@pytest.mark.parametrize(
    ("method", "path", "body", "permission"),
    [
        ("POST", "/desk/next", {"tab": "t"}, Permission.REVIEW),
        ("POST", "/desk/next", {"tab": "t", "work": "second"}, Permission.ADJUDICATE),
        ("GET", "/desk/counts", None, Permission.REVIEW),
        ("GET", "/desk/queue", None, Permission.REVIEW),
        ("POST", "/desk/cases/CASE/open", {"tab": "t"}, Permission.REVIEW),
        ("POST", "/desk/cases/CASE/draft", "held+draft", Permission.REVIEW),
        ("POST", "/desk/cases/CASE/heartbeat", "held", Permission.REVIEW),
        ("POST", "/desk/cases/CASE/release", "held", Permission.REVIEW),
        ("POST", "/desk/cases/CASE/submit", "held+answer", Permission.REVIEW),
        ("POST", "/desk/cases/CASE/reveal", "held+boxes", Permission.ADJUDICATE),
        ("POST", "/desk/cases/CASE/settle", "held+settled", Permission.ADJUDICATE),
        ("POST", "/desk/cases/CASE/skip", "held+reason", Permission.REVIEW),
        ("POST", "/desk/cases/CASE/reopen", {"reason": "doubt"}, Permission.REVIEW),
        ("DELETE", "/desk/drafts/x", None, Permission.REVIEW),
        ("POST", "/desk/uploads", None, Permission.SUBMIT_IMAGES),
        ("POST", "/desk/imports", "import", Permission.IMPORT),
    ],
)
def test_a_route_refuses_every_role_without_its_permission(
    app: App, method: str, path: str, body: Any, permission: Permission
) -> None:
    case_id = app.queue(()).review_id
    held = {"tab": "t", "token": 1}
    bodies = {
        "held": held,
        "held+draft": held | {"rev": 1, "document": {}},
        "held+answer": held | {"key": "k", "boxes": []},
        "held+boxes": held | {"boxes": []},
        "held+settled": held | {"key": "k", "boxes": [], "reason": "agreed"},
        "held+reason": held | {"reason": "other"},
        "import": {"size": 10, "format": "voc"},
    }
    refused = [role for role in _LOGIN_OF if role not in roles_with(permission)]
    assert refused
    for role in refused:
        with client_of(app, _LOGIN_OF[role]) as client:
            answer = client.request(
                method, path.replace("CASE", case_id), json=bodies.get(str(body), body)
            )
            assert answer.status_code == 403, f"{role}: {answer.status_code} {answer.text}"
            assert answer.json()["error"]["code"] == "not_allowed"
    app.clear_queue()


def test_images_are_for_those_who_work_with_them(app: App) -> None:
    image_id = app.queue(()).image_id
    for login, status in (("ana", 200), ("eva", 200), ("aud", 200), ("root", 403)):
        with client_of(app, login) as client:
            answer = client.get(f"/desk/images/{image_id}")
            assert answer.status_code == status
            assert answer.headers["cache-control"] == "no-store"
    with client_of(app, "ana") as client:
        assert client.get(f"/desk/images/{'0' * 64}").status_code == 404
        assert client.get("/desk/images/..%2Fsecret").status_code in (404, 422)
    app.clear_queue()


def test_another_site_cannot_act_in_somebodys_name(app: App) -> None:
    with client_of(app, "ana") as client:
        for headers in ({"origin": "http://evil.test"}, {"sec-fetch-site": "cross-site"}):
            answer = client.post("/desk/next", json={"tab": "t"}, headers=headers)
            assert answer.status_code == 403


def server_functions(page: gr.Blocks) -> list[tuple[int, str]]:
    """(component id, name) of all that a page's script may call by name."""
    found = []
    for number, block in page.blocks.items():
        names = {getattr(fn, "__name__", "") for fn in getattr(block, "server_fns", None) or ()}
        names |= {
            name
            for name in dir(type(block))
            if getattr(getattr(type(block), name, None), "_is_server_fn", False)
        }
        found += [(number, name) for name in sorted(names)]
    return found


def call(client: httpx.Client, number: int, values: list[Any]) -> dict[str, Any]:
    """Run handler ``number`` as the page would, with ``values`` in its inputs."""
    session = uuid4().hex[:10]
    body = {
        "data": values,
        "fn_index": number,
        "session_hash": session,
        "event_data": None,
    }
    joined = client.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message: dict[str, Any] = json.loads(line[5:])
                if message["msg"] == "process_completed":
                    return message
    raise AssertionError("the handler never ended")

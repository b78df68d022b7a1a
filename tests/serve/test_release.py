"""Against a dashboard and an API that are written here: `test_app` has the real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loop.errors import Unavailable
from loop.predictions import ModelRef
from loop.serving_orders import ServingOrder
from serve.dashboard import require_deployed
from serve.release import (
    APP_NAME,
    ask_for,
    deploy,
    wait_until_served,
    what_serves,
)
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.serve.fakes import model_ref

ONE, TWO = model_ref("1"), model_ref("2")
ORDER = ServingOrder("o2", TWO, None, "2026-01-01T00:00:00.000000Z")


@dataclass
class FakeServer:
    """Gives the answers of ``GET`` in order, the last one for ever, and keeps what was ``PUT``."""

    answers: list[tuple[int, Any]]
    url: str = ""
    put: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def get(self) -> tuple[int, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


Serving = Callable[[list[tuple[int, Any]]], FakeServer]


@pytest.fixture
def serving() -> Iterator[Serving]:
    running: list[ThreadingHTTPServer] = []

    def start(answers: list[tuple[int, Any]]) -> FakeServer:
        fake = FakeServer(answers)

        class Handler(BaseHTTPRequestHandler):
            def reply(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                fake.tokens.add(self.headers.get("authorization", ""))
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.reply(*fake.get())

            def do_PUT(self) -> None:
                size = int(self.headers["content-length"])
                fake.put.append(json.loads(self.rfile.read(size)))
                self.reply(200, None)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        fake.url = f"http://127.0.0.1:{server.server_port}"
        return fake

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "not-a-secret")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return load_settings(tmp_path)


def application(status: str, message: str = "") -> tuple[int, Any]:
    return 200, {"applications": {APP_NAME: {"status": status, "message": message}}}


def state(**fields: Any) -> tuple[int, Any]:
    return 200, {
        "model": None,
        "wanted": None,
        "loading": False,
        "error": None,
        "order": "",
        **fields,
    }


def test_a_deployment_returns_when_the_replicas_run(serving: Serving, settings: Settings) -> None:
    dashboard = serving([application("DEPLOYING"), application("RUNNING")])
    deploy(settings, dashboard.url, ONE)
    (document,) = dashboard.put
    assert document["proxy_location"] == "HeadOnly"
    assert document["http_options"]["host"] == "127.0.0.1"
    (app,) = document["applications"]
    assert app["import_path"] == "serve.app:build"
    assert "deployments" not in app  # what is served is not Serve's to say
    assert ordered(settings) == ONE
    assert app["runtime_env"]["env_vars"]["SECONDLOOK_HOME"] == str(settings.home)
    assert dashboard.tokens == {"Bearer not-a-secret"}


def test_each_node_takes_requests_when_told_to(serving: Serving, settings: Settings) -> None:
    dashboard = serving([application("RUNNING")])
    deploy(settings.model_copy(update={"api_on_every_node": True}), dashboard.url, ONE)
    assert dashboard.put[0]["proxy_location"] == "EveryNode"


def ordered(settings: Settings) -> ModelRef | None:
    with open_units_of_work(settings)() as uow:
        order = uow.serving_orders.find()
    return order.model if order else None


def test_the_same_model_ordered_again_is_another_order(settings: Settings) -> None:
    first, again = ask_for(settings, ONE), ask_for(settings, ONE)
    assert first.id != again.id
    assert ordered(settings) == ONE


def test_where_nothing_is_deployed_it_is_said(serving: Serving) -> None:
    with pytest.raises(Unavailable, match="Nothing is being served"):
        require_deployed(serving([(200, {"applications": {}})]).url)


def test_who_cannot_deploy_has_ordered_for_the_next_start(
    serving: Serving, settings: Settings
) -> None:
    with pytest.raises(Unavailable):
        deploy(settings, serving([(500, None)]).url, TWO)
    assert ordered(settings) == TWO


def test_a_failed_deployment_says_what_failed(serving: Serving, settings: Settings) -> None:
    trace = "Traceback (most recent call last):\n  File x\nValueError: port is taken\n"
    dashboard = serving([application("DEPLOY_FAILED", trace)])
    with pytest.raises(Unavailable) as failure:
        deploy(settings, dashboard.url, None)
    assert failure.value.message == "Ray Serve reports DEPLOY_FAILED: ValueError: port is taken"


@pytest.mark.parametrize(("status", "words"), [(401, "token"), (403, "token"), (500, "500")])
def test_a_dashboard_that_refuses_is_reported(
    serving: Serving, settings: Settings, status: int, words: str
) -> None:
    with pytest.raises(Unavailable, match=words):
        deploy(settings, serving([(status, None)]).url, ONE)


def test_the_token_is_read_from_rays_file(
    serving: Serving, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("from-a-file\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    dashboard = serving([application("RUNNING")])
    deploy(settings, dashboard.url, None)
    assert dashboard.tokens == {"Bearer from-a-file"}


def test_waiting_ends_when_the_model_serves(serving: Serving) -> None:
    api = serving(
        [
            (503, {"error": {}}),
            state(model=ONE.as_dict(), wanted=ONE.as_dict(), order="o1"),
            state(model=ONE.as_dict(), wanted=TWO.as_dict(), loading=True, order=""),
            state(model=ONE.as_dict(), wanted=TWO.as_dict(), loading=True, order="o2"),
            state(model=TWO.as_dict(), wanted=TWO.as_dict(), order="o2"),
        ]
    )
    wait_until_served(api.url, ORDER, 30)
    assert len(api.answers) == 1


def test_an_error_about_another_order_is_not_ours(serving: Serving) -> None:
    """The same model failed before, and its replicas have not seen yet that it is wanted again."""
    api = serving(
        [
            state(wanted=TWO.as_dict(), error="an old story", order="o1"),
            state(model=TWO.as_dict(), wanted=TWO.as_dict(), order="o2"),
        ]
    )
    wait_until_served(api.url, ORDER, 30)


def test_the_replicas_own_error_is_passed_on(serving: Serving) -> None:
    told = state(model=ONE.as_dict(), wanted=TWO.as_dict(), error="no checkpoint", order="o2")
    with pytest.raises(Unavailable, match="no checkpoint"):
        wait_until_served(serving([told]).url, ORDER, 30)


def test_waiting_has_an_end(serving: Serving) -> None:
    api = serving([state(wanted=TWO.as_dict(), loading=True, order="o2")])
    with pytest.raises(Unavailable, match="not in service after 0 s"):
        wait_until_served(api.url, ORDER, 0)


def test_an_api_that_never_answered_is_named(serving: Serving) -> None:
    with pytest.raises(Unavailable, match="did not answer"):
        wait_until_served(serving([(503, None)]).url, ORDER, 0)


def test_whose_key_is_not_accepted_does_not_wait(serving: Serving) -> None:
    api = serving([(401, {"error": {}})])
    with pytest.raises(Unavailable, match="another API key"):
        wait_until_served(api.url, ORDER, 30, {"authorization": "Bearer sl_old"})
    assert api.tokens == {"Bearer sl_old"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (state(model=ONE.as_dict(), wanted=ONE.as_dict()), "version 1"),
        (state(), "no model"),
        (
            state(model=ONE.as_dict(), wanted=TWO.as_dict(), loading=True),
            "version 1 (version 2: loading)",
        ),
        (
            state(model=ONE.as_dict(), wanted=TWO.as_dict(), error="no checkpoint"),
            "version 1 (version 2: no checkpoint)",
        ),
        ((503, {"error": {}}), "the API does not say"),
        (
            (401, {"error": {}}),
            "The API does not say which model serves: it wants another API key.",
        ),
    ],
)
def test_what_serves_is_said_in_words(
    serving: Serving, answer: tuple[int, Any], words: str
) -> None:
    assert what_serves(serving([answer]).url) == words

"""What `doctor` says of servers: right ones, wrong ones and none, each a small one of ours."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

import pytest

from cluster import doctor
from cluster.addresses import without_password
from cluster.doctor_servers import api, dashboard, mlflow, server_checks, storage, token
from cluster.findings import Finding, looked_at_once
from store.settings import Settings, load_settings
from tests.s3 import S3Server, open_bucket

PASSWORD = "a-secret-word"
TOKEN = "the-token"
Answers = dict[str, tuple[int, Any]]
Serving = Callable[[Answers], str]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Starts a server that answers so by path, else 404; returns its URL."""
    running: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path.partition("?")[0], (404, "none"))
                wanted = status == 200 and isinstance(body, dict) and body.pop("wants", None)
                if wanted and self.headers.get("authorization") != f"Bearer {wanted}":
                    status, body = 401, "no"
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_ADDRESS", "SECONDLOOK_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")


def told(settings: Settings) -> list[Finding]:
    return looked_at_once(server_checks(settings))


def ray_dashboard(mode: str = "token", there: str = version("ray")) -> Answers:
    wants = {"wants": TOKEN} if mode == "token" else {}
    return {
        "/api/authentication_mode": (200, {"authentication_mode": mode}),
        "/api/version": (200, {"ray_version": there, **wants}),
    }


def test_where_all_is_embedded_no_server_is_asked(settings: Settings) -> None:
    assert server_checks(settings) == []


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("SECONDLOOK_DASHBOARD_URL", "Ray dashboard"),
        ("SECONDLOOK_API_URL", "Detection API"),
        ("MLFLOW_TRACKING_URI", "MLflow server"),
    ],
)
def test_where_nobody_listens_the_setting_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, nobody: str, variable: str, what: str
) -> None:
    monkeypatch.setenv(variable, nobody)
    found = [each for each in told(load_settings(settings.home)) if each.what == what]
    assert [each.ok for each in found] == [False]
    assert "Nobody answers" in found[0].found
    assert variable in found[0].hint


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("SECONDLOOK_DASHBOARD_URL", "Ray's dashboard"),
        ("SECONDLOOK_API_URL", "Second Look's API"),
        ("MLFLOW_TRACKING_URI", "MLflow"),
    ],
)
@pytest.mark.parametrize(
    "answers",
    [{}, dict.fromkeys(("/v1/model", "/health", "/api/version"), (200, "<html>"))],
    ids=["nothing", "pages"],
)
def test_another_kind_of_server_is_told_from_the_right_one(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    serving: Serving,
    answers: Answers,
    variable: str,
    what: str,
) -> None:
    monkeypatch.setenv(variable, serving(answers))
    found = [each for each in told(load_settings(settings.home)) if "what answers at" in each.found]
    assert f"is not {what}" in found[0].found
    assert found[0].ok is False
    assert variable in found[0].hint


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"dashboard_at": url})


def test_a_dashboard_with_the_token_is_fine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, serving: Serving
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    found = dashboard(at(settings, serving(ray_dashboard())))
    assert [each.ok for each in found] == [True, True]


@pytest.mark.parametrize(
    ("given", "words"), [("", "there is none"), ("another", "the token is refused")]
)
def test_a_token_that_is_missing_is_told_from_a_wrong_one(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    serving: Serving,
    given: str,
    words: str,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", given)
    (found,) = dashboard(at(settings, serving(ray_dashboard())))
    assert words in found.found
    assert found.ok is False
    assert "RAY_AUTH_TOKEN" in found.hint
    assert TOKEN not in str(found)


def test_a_server_that_is_no_dashboard_does_not_get_ray_s_token(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, serving: Serving
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    wants_it = {"ray_version": version("ray"), "wants": TOKEN}
    (found,) = dashboard(at(settings, serving({"/api/version": (200, wants_it)})))
    assert "is not Ray's dashboard" in found.found


def test_what_breaks_in_one_look_at_the_machine_hides_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "_gpu", broken)
    found = {each.what: each for each in doctor.examine(settings)}
    assert found["GPU"].ok is False
    assert "libcudart" in found["GPU"].found
    assert found["ray"].ok is True


@pytest.mark.parametrize(
    "changes", [{"host": "no.such.host.invalid"}, {"ui_port": 99999}], ids=["host", "port"]
)
def test_a_host_or_port_that_cannot_be_is_a_finding(
    settings: Settings, changes: dict[str, Any]
) -> None:
    found = [each for each in doctor._ports(settings.model_copy(update=changes)) if not each.ok]
    assert found
    assert "SECONDLOOK_HOST" in found[0].hint


def test_another_ray_is_a_finding(settings: Settings, serving: Serving) -> None:
    found = dashboard(at(settings, serving(ray_dashboard("disabled", "2.9.0"))))
    assert found[0].ok is False
    assert "2.9.0" in found[0].found
    assert version("ray") in found[0].found


@pytest.mark.parametrize(
    ("url", "ok"),
    [
        ("http://127.0.0.1:8265", None),
        ("http://localhost:8265", None),
        ("http://[::1]:8265", None),
        ("http://10.0.0.7:8265", False),
        ("http://head:8265", False),
    ],
)
def test_a_cluster_beyond_loopback_must_ask_for_a_token(url: str, ok: bool | None) -> None:
    found = token(url, "disabled", joined=True)
    assert found.ok is ok
    assert "CVE-2023-48022" in found.hint


def test_who_joins_a_cluster_with_a_token_must_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = token("http://head:8265", "token", joined=True)
    assert found.ok is False
    assert "RAY_AUTH_MODE=token" in found.hint
    assert token("http://head:8265", "token", joined=False).ok is True
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert token("http://head:8265", "token", joined=True).ok is True


def test_mlflow_is_known_by_its_health_and_version(settings: Settings, serving: Serving) -> None:
    answers: Answers = {"/health": (200, "OK"), "/version": (200, version("mlflow"))}
    url = serving(answers).replace("http://", f"http://ada:{PASSWORD}@")
    found = mlflow(settings.model_copy(update={"tracking_uri": url}))
    assert found.ok is True
    assert PASSWORD not in str(found)
    answers["/version"] = (200, "1.2.3")
    assert mlflow(settings.model_copy(update={"tracking_uri": url})).ok is False


def test_mlflow_that_refuses_is_told_from_another_server(
    settings: Settings, serving: Serving
) -> None:
    url = serving({"/health": (401, "You are not authenticated.")})
    found = mlflow(settings.model_copy(update={"tracking_uri": url}))
    assert found.ok is False
    assert "MLFLOW_TRACKING_USERNAME" in found.hint


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ((200, {"wanted": None, "model": None, "stopped": None}), True, "no model"),
        ((200, {"wanted": 1, "model": {"version": "7"}}), True, "version 7 serves"),
        ((200, {"wanted": 1, "model": None, "stopped": {"by": "eva"}}), True, "stopped"),
        ((401, {"error": {"message": "no"}}), False, "key is not accepted"),
        ((503, {"error": {"message": "No replica answers."}}), False, "No replica answers."),
    ],
)
def test_the_api_is_known_by_what_it_says_of_its_model(
    settings: Settings, serving: Serving, answer: tuple[int, Any], ok: bool, words: str
) -> None:
    found = api(settings, serving({"/v1/model": answer}))
    assert found.ok is ok
    assert words in found.found


def test_a_store_is_written_to_read_and_left_as_it_was(settings: Settings, s3: S3Server) -> None:
    url = s3.bucket()
    assert storage(settings.model_copy(update={"storage_url": url})).ok is True
    assert list(open_bucket(url).list("")) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://no-such-bucket/x?endpoint_url={}", "There is no bucket no-such-bucket"),
        ("s3://bucket/x?endpoint_url=http://127.0.0.1:9", "Nobody answers at 127.0.0.1:9"),
        ("s3://b/x", "is no name of a bucket"),
        ("ftp://bucket/x", "begins with"),
    ],
    ids=["bucket", "server", "name", "scheme"],
)
def test_a_store_that_cannot_be_used_is_a_finding(
    settings: Settings, s3: S3Server, url: str, words: str
) -> None:
    wrong = settings.model_copy(update={"storage_url": url.format(s3.endpoint)})
    (found,) = told(wrong)
    assert (found.what, found.ok) == ("Storage", False)
    assert words in found.found
    assert found.hint


def test_a_store_without_credentials_is_a_finding(
    settings: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3.bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    (found,) = told(settings.model_copy(update={"storage_url": url}))
    assert "wants credentials" in found.found
    assert "AWS_ACCESS_KEY_ID" in found.hint


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("postgresql://ada:{}@127.0.0.1:9/x", "Nobody answers", "SECONDLOOK_DATABASE_URL"),
        ("mysql://ada:{}@127.0.0.1/x", "not supported", "PostgreSQL"),
        ("no url {}", "cannot be read", "postgresql://"),
        ("postgresql://ada:{0}/{0}@127.0.0.1:9/x", "cannot be told", "%2F"),
    ],
    ids=["nobody", "kind", "malformed", "slash-in-password"],
)
def test_a_database_that_cannot_be_used_is_a_finding(
    settings: Settings, url: str, words: str, hint: str
) -> None:
    wrong = settings.model_copy(update={"database_url": url.format(PASSWORD)})
    found = doctor._database(wrong)
    assert found.ok is False
    assert words in found.found
    assert hint in found.hint
    assert PASSWORD not in str(found)


def test_another_server_in_place_of_the_database_is_told(
    settings: Settings, serving: Serving
) -> None:
    url = serving({}).replace("http://", f"postgresql://ada:{PASSWORD}@") + "/x"
    found = doctor._database(settings.model_copy(update={"database_url": url}))
    assert found.ok is False
    assert PASSWORD not in str(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ada:pw", "no URL"),
        ("postgresql://ada:pw@host:5432/x?sslmode=require", "postgresql://host:5432/x"),
        ("postgresql+psycopg://ada:p@w@host/x", "postgresql+psycopg://host/x"),
        ("postgresql://ada:p/w@host/x", "postgresql://host/x"),
        ("postgresql://ada:p?w#@host:5432/x", "postgresql://host:5432/x"),
        ("https://a-token@host/x", "https://host/x"),
        ("http://mlflow:5001", "http://mlflow:5001"),
        ("sqlite:////home/ada/second@look.db", "sqlite:////home/ada/second@look.db"),
    ],
)
def test_addresses_are_shown_without_who_signs_in(url: str, shown: str) -> None:
    assert without_password(url) == shown

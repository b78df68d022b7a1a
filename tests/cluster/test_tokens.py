from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import cli
from cluster.context import demo_settings
from loop.accounts import stamp
from loop.errors import InvalidInput, InvalidKey, LoopError, NotFound
from loop.events import Actor, Role
from loop.keyring import read_keyring
from loop.sessions import utc_now
from store.audit_log import open_audit_log
from store.own_key import ensure_own_key
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.cluster.test_users import account, refused, run, told

ANSWER = {
    "width": 8,
    "height": 8,
    "model": {"name": "detector", "version": "1", "digest": "d"},
    "detections": [],
}


def create(settings: Settings, *arguments: str) -> dict[str, object]:
    made: dict[str, object] = told(settings, "token", "create", "--label", "scanner", *arguments)
    return made


def comes_in(settings: Settings, text: object) -> bool:
    try:
        read_keyring(open_units_of_work(settings)).check(str(text), stamp(utc_now()))
    except InvalidKey:
        return False
    return True


def test_a_key_is_made_listed_and_revoked(settings: Settings) -> None:
    made = create(settings, "--scope", "queue", "--scope", "detect", "--expires", "90d")
    text = made.pop("key")
    assert made["scopes"] == ["detect", "queue"]
    assert (made["role"], made["per_minute"], made["state"]) == ("system", 600, "active")
    assert str(made["expires_at"]) > str(made["created_at"])
    assert told(settings, "token", "list") == [made]
    assert comes_in(settings, text)
    table = run(settings, "token", "list").stdout
    assert str(made["id"]) in table
    assert str(text) not in table
    assert told(settings, "token", "revoke", str(made["id"]))["state"] == "revoked"
    assert not comes_in(settings, text)
    assert [each["state"] for each in told(settings, "token", "list")] == ["revoked"]


def test_the_key_is_printed_once_for_people_too_with_what_to_do(settings: Settings) -> None:
    done = run(settings, "token", "create", "--label", "scanner", "--scope", "detect")
    (text,) = [word for word in done.stdout.split() if word.startswith("sl_")]
    assert comes_in(settings, text)
    assert "SECONDLOOK_API_KEY" in done.stdout
    assert f"users token revoke {text.split('_')[1]}" in done.stdout


def test_a_persons_key_has_a_role_of_theirs_and_ends_with_the_account(settings: Settings) -> None:
    told(settings, "add", "ana", "--role", "reviewer")
    made = create(settings, "--scope", "detect", "--owner", "ana", "--rate", "0")
    assert (made["owner"], made["role"], made["per_minute"]) == ("ana", "reviewer", None)
    told(settings, "disable", "ana")
    assert not comes_in(settings, made["key"])
    assert [each["state"] for each in told(settings, "token", "list")] == ["suspended"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--scope", "detect", "--expires", "soon"], InvalidInput),
        (["--scope", "detect", "--expires", "0d"], InvalidInput),
        (["--scope", "detect", "--role", "auditor"], InvalidInput),
        (["--scope", "detect", "--owner", "nobody"], NotFound),
    ],
)
def test_what_cannot_be_is_said(
    settings: Settings, arguments: list[str], kind: type[LoopError]
) -> None:
    assert isinstance(refused(settings, "token", "create", "--label", "x", *arguments), kind)
    assert told(settings, "token", "list") == []
    assert isinstance(refused(settings, "token", "revoke", "0" * 16), NotFound)


@pytest.mark.parametrize("words", [("ana",), ("link", "ana"), ("ANA",)])
def test_a_new_link_is_made_as_ever(settings: Settings, words: tuple[str, ...]) -> None:
    told(settings, "add", "ana", "--role", "reviewer")
    assert "/welcome?token=" in told(settings, "token", *words)["link"]
    assert account(settings).password_hash is None


def test_what_was_done_is_on_record_without_the_label(settings: Settings) -> None:
    made = create(settings, "--scope", "detect")
    events = [entry.event for entry in open_audit_log(settings).tail(10)]
    assert [event.type for event in events] == ["api_key.created"]
    assert events[0].actor == Actor(settings.actor, Role.ADMIN)
    said = events[0].canonical().decode()
    assert "scanner" not in said
    assert str(made["key"]) not in said


@contextmanager
def listening() -> Iterator[tuple[int, list[str | None]]]:
    """Something that answers as the API, and what it was sent as a key."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWER).encode())

        def log_message(self, *_: object) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_detect_sends_the_key_that_is_named_or_else_the_homes_own(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")

    def detect(*arguments: str) -> None:
        command = ["--home", str(settings.home), "detect", str(image), "--json", *arguments]
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == 0, done.exception

    with listening() as (port, seen):
        monkeypatch.setenv("SECONDLOOK_API_PORT", str(port))
        detect()
        ensure_own_key(settings, open_units_of_work(settings))
        detect()
        monkeypatch.setenv("SECONDLOOK_API_KEY", "sl_set")
        detect()
        detect("--key", "sl_named")
    own = "Bearer " + (settings.home / "keys" / "api.key").read_text().strip()
    assert seen == [None, own, "Bearer sl_set", "Bearer sl_named"]


def test_the_demo_is_open_on_loopback_unless_told_otherwise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not settings.api_open_on_loopback
    assert demo_settings(settings).api_open_on_loopback
    assert demo_settings(settings).home == settings.home / "demo"
    monkeypatch.setenv("SECONDLOOK_API_OPEN_ON_LOOPBACK", "false")
    assert not demo_settings(load_settings(settings.home)).api_open_on_loopback

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection

from loop.api_keys import Scope, new_key
from loop.errors import InvalidKey, LoopError, RateLimited, Unavailable
from loop.events import Actor, Role
from loop.managing_keys import ManageApiKeys
from loop.ports import UnitOfWork
from loop.rate_limits import TokenBuckets
from serve.api import Intake, build_api
from serve.key_middleware import OPEN_PATHS, SCOPES
from serve.keys import KEYRING_SECONDS, HeldKeys, KeyGate, open_key_gate
from serve.loopback import is_loopback
from store.image_codec import Limits
from store.settings import Settings
from tests.fakes import FakeDatabase
from tests.serve.conftest import MAX_BYTES, MAX_PIXELS, World, picture

ADMIN = Actor("operator", Role.ADMIN)
JPEG = {"content-type": "image/jpeg"}
GUARDED = [
    ("POST", "/v1/detect"),
    ("POST", "/v1/images"),
    ("GET", "/v1/model"),
    ("GET", "/metrics"),
]
HERE = ("127.0.0.1", 50000)


class Keys:
    """A database with keys in it, a gate in front of it, and its two clocks in one."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.manage = ManageApiKeys(self.units, self.clock)
        self.seconds = 0.0
        self.reads = 0
        self.silent = False
        self.held = HeldKeys(self.units, self.clock, lambda: self.seconds)

    def units(self) -> AbstractContextManager[UnitOfWork]:
        self.reads += 1
        if self.silent:
            raise Unavailable("The database does not answer.")
        return self.database.units()

    def clock(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def make(self, *scopes: Scope, **more: Any) -> str:
        _, text = self.manage.create("scanner", scopes or Scope, actor=ADMIN, **more)
        self.reads = 0
        return text

    def revoke(self, text: str) -> None:
        self.manage.revoke(text.split("_")[1], actor=ADMIN)

    def gate(self, *, open_on_loopback: bool = False) -> KeyGate:
        buckets = TokenBuckets(lambda: self.seconds)
        return KeyGate(self.held, buckets, open_on_loopback=open_on_loopback)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def client(world: World, keys: Keys) -> TestClient:
    return world.client(keys.gate())


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_opens_what_it_has_the_scope_for(client: TestClient, keys: Keys, header: str) -> None:
    text = keys.make()
    headers = {header: f"bearer {text}" if header == "authorization" else text}
    for method, path in GUARDED:
        response = client.request(method, path, headers=headers | JPEG, content=picture())
        assert response.status_code == 200, (path, response.text)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_there_is_nothing(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path, content=picture(), headers=JPEG)
    assert code(response) == (401, "no_key")
    assert response.headers["www-authenticate"] == 'Bearer realm="Second Look"'
    assert response.headers["x-request-id"]
    assert response.json()["error"]["hint"]


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer x", f"Bearer {new_key()}", "Bearer é"],
    ids=["empty", "no key", "short", "unknown", "not ASCII"],
)
def test_what_is_no_good_key_is_refused(client: TestClient, keys: Keys, sent: str) -> None:
    keys.make()
    headers = {"authorization": sent.encode("latin-1"), "x-api-key": new_key().encode()}
    response = client.get("/v1/model", headers=headers)
    assert code(response) == (401, "invalid_key")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_key_without_the_scope_is_refused(
    client: TestClient, keys: Keys, world: World, method: str, path: str
) -> None:
    text = keys.make(*[scope for scope in Scope if scope is not SCOPES[path]])
    response = client.request(method, path, headers=bearer(text) | JPEG, content=picture())
    assert code(response) == (403, "missing_scope")
    assert f'scope="{SCOPES[path]}"' in response.headers["www-authenticate"]
    assert not world.service.seen


def test_every_route_is_open_on_purpose_or_wants_a_key(client: TestClient) -> None:
    """Fails when somebody adds a route and forgets to say who may use it."""
    routes = {route.path for route in client.app.routes}  # type: ignore[attr-defined]
    assert routes == OPEN_PATHS | SCOPES.keys()
    for path in routes:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
            status = client.request(method, path).status_code
            assert (status != 401) == (path in OPEN_PATHS), (method, path, status)


def test_a_route_that_was_forgotten_is_out_of_reach(world: World, keys: Keys) -> None:
    client = world.client(keys.gate())
    client.app.get("/v1/secrets")(lambda: "everything")  # type: ignore[attr-defined]
    headers = bearer(keys.make())
    for path in (
        "/v1/secrets",
        "/v1/detect/",
        "//v1/detect",
        "/V1/detect",
        "/healthz/",
        "/nothing",
    ):
        assert client.get(path).status_code == 401
        assert code(client.get(path, headers=headers)) == (404, "not_found")


def test_nobody_comes_in_where_no_gate_is_given(world: World) -> None:
    intake = Intake(world.database.units, world.images, str)
    client = TestClient(build_api(world.service, intake, Limits(MAX_BYTES, MAX_PIXELS)))
    assert client.get("/v1/model", headers=bearer(new_key())).status_code == 401
    assert client.get("/healthz").status_code == 200


def test_a_websocket_is_not_let_through(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/detect"):
        pass


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/images", "/nothing"])
def test_no_byte_of_a_body_is_read_without_a_key(client: TestClient, path: str) -> None:
    """The body has no end, and whoever reads it fails."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("The body was read.")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"image/jpeg"), (b"transfer-encoding", b"chunked")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": HERE,
        "server": HERE,
        "scheme": "http",
        "http_version": "1.1",
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 401
    assert dict(sent[0]["headers"])[b"connection"] == b"close"


def test_queued_images_name_the_key(client: TestClient, keys: Keys, world: World) -> None:
    text = keys.make(Scope.QUEUE)
    response = client.post("/v1/images", content=picture(), headers=bearer(text) | JPEG)
    assert response.status_code == 200
    (event,) = world.database.events
    assert event.actor == Actor(f"key-{text.split('_')[1]}", Role.SYSTEM)


def test_a_key_is_good_for_so_many_requests_a_minute(client: TestClient, keys: Keys) -> None:
    text, other = keys.make(per_minute=2), keys.make(per_minute=2)

    def ask(key: str = text) -> Any:
        return client.get("/v1/model", headers=bearer(key))

    assert [ask().status_code for _ in range(3)] == [200, 200, 429]
    refusal = ask()
    assert code(refusal) == (429, "rate_limited")
    assert refusal.headers["retry-after"] == "30"
    assert ask(other).status_code == 200
    keys.seconds += 30
    assert [ask().status_code for _ in range(2)] == [200, 429]


def test_what_a_key_may_not_do_is_not_counted(client: TestClient, keys: Keys) -> None:
    text = keys.make(Scope.MODEL, per_minute=1)
    assert client.get("/metrics", headers=bearer(text)).status_code == 403
    assert client.get("/v1/model", headers=bearer(text)).status_code == 200


def check(keys: Keys, text: str) -> bool:
    async def ask() -> None:
        await keys.held.check(text)
        await asyncio.gather(*keys.held._noting)

    try:
        asyncio.run(ask())
    except InvalidKey:
        return False
    return True


def test_requests_cost_no_query_while_the_keys_are_fresh(keys: Keys) -> None:
    text = keys.make()
    assert check(keys, text)
    keys.reads = 0
    for _ in range(20):
        assert check(keys, text)
    assert keys.reads == 0


def test_a_revocation_counts_within_seconds(keys: Keys) -> None:
    text = keys.make()
    assert check(keys, text)
    keys.revoke(text)
    keys.seconds += KEYRING_SECONDS
    assert not check(keys, text)


def test_a_new_key_counts_soon_and_strangers_cost_a_query_a_second_at_most(keys: Keys) -> None:
    assert check(keys, keys.make())
    new = keys.make()
    assert not check(keys, new)
    keys.reads = 0
    for _ in range(20):
        assert not check(keys, new_key())
    assert keys.reads == 0
    keys.seconds += 1
    assert check(keys, new)


def test_requests_at_once_read_the_keys_once(keys: Keys) -> None:
    text = keys.make()

    async def ask() -> None:
        await asyncio.gather(*(keys.held.check(text) for _ in range(10)))
        await asyncio.gather(*keys.held._noting)

    asyncio.run(ask())
    assert keys.reads == 2  # the other one notes that the key was used


def test_known_keys_are_good_for_a_while_without_the_database(keys: Keys) -> None:
    text = keys.make()
    assert check(keys, text)
    keys.silent = True
    keys.seconds += KEYRING_SECONDS + 1
    assert check(keys, text)
    keys.seconds += 60
    with pytest.raises(Unavailable):
        check(keys, text)
    keys.silent = False
    assert check(keys, text)


def test_without_the_database_nobody_is_taken_at_their_word(client: TestClient, keys: Keys) -> None:
    text = keys.make()
    keys.silent = True
    response = client.get("/v1/model", headers=bearer(text))
    assert response.status_code == 503
    assert response.headers["retry-after"]


def test_use_is_noted_now_and_then(keys: Keys) -> None:
    text = keys.make()

    def last_used() -> str | None:
        (key,) = keys.database.tables.api_keys.values()
        return key.last_used_at

    assert check(keys, text)
    first = last_used()
    assert first
    keys.seconds += 300
    assert check(keys, text)
    assert last_used() == first
    keys.seconds += 301
    assert check(keys, text)
    assert last_used() == "2026-01-01T00:10:01.000000Z"


def connection(client: tuple[str, int] | None = HERE, **headers: str) -> HTTPConnection:
    sent = {"host": "127.0.0.1:8000"} | {name.replace("_", "-"): v for name, v in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    return HTTPConnection({"type": "http", "client": client, "headers": raw})


def admitted(gate: KeyGate, at: HTTPConnection) -> bool:
    try:
        return asyncio.run(gate.admit(at, Scope.QUEUE)) == Actor("api", Role.SYSTEM)
    except InvalidKey:
        return False


@pytest.mark.parametrize(
    ("client", "headers", "let_in"),
    [
        (HERE, {}, True),
        (("::1", 1), {"host": "[::1]:8000"}, True),
        (("::ffff:127.0.0.1", 1), {"host": "localhost"}, True),
        (HERE, {"origin": "http://127.0.0.1:8000"}, True),  # the page with the docs
        (None, {}, False),
        (("10.0.0.7", 1), {}, False),
        (("testclient", 1), {}, False),
        (HERE, {"x_forwarded_for": "127.0.0.1"}, False),
        (HERE, {"x_forwarded_proto": "https"}, False),
        (HERE, {"forwarded": "for=127.0.0.1"}, False),
        (HERE, {"via": "1.1 proxy"}, False),
        (HERE, {"x_real_ip": "127.0.0.1"}, False),
        (HERE, {"host": "evil.test:8000"}, False),
        (HERE, {"host": ""}, False),
        (HERE, {"origin": "http://evil.test"}, False),
        (HERE, {"origin": "http://127.0.0.1:9999"}, False),
        (HERE, {"origin": "null"}, False),
        (HERE, {"authorization": "Bearer wrong"}, False),
        (HERE, {"x_api_key": "wrong"}, False),
    ],
)
def test_only_programs_on_this_machine_come_in_without_a_key(
    keys: Keys, client: tuple[str, int] | None, headers: dict[str, str], let_in: bool
) -> None:
    at = connection(client, **headers)
    assert admitted(keys.gate(open_on_loopback=True), at) == let_in
    assert not admitted(keys.gate(), at)


@pytest.mark.parametrize(
    ("host", "asked_for", "let_in"),
    [
        ("127.0.0.1", True, True),
        ("localhost", True, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", True, False),  # noqa: S104
        ("192.168.1.5", True, False),
    ],
)
def test_loopback_counts_only_where_it_was_asked_for_and_is_all_there_is(
    keys: Keys, host: str, asked_for: bool, let_in: bool
) -> None:
    settings = Settings(host=host, api_open_on_loopback=asked_for)
    assert admitted(open_key_gate(settings, keys.units), connection()) == let_in


def test_nobody_is_let_in_without_a_key_by_default(keys: Keys) -> None:
    assert not admitted(open_key_gate(Settings(), keys.units), connection())


@pytest.mark.parametrize(
    "host", ["", "localhost.evil.test", "127.0.0.1.evil.test", "::", "128.0.0.1"]
)
def test_what_only_looks_like_loopback_is_none(host: str) -> None:
    assert not is_loopback(host)


def test_the_wait_is_told_to_whoever_comes_too_often(keys: Keys) -> None:
    text = keys.make(per_minute=1)
    gate = keys.gate()

    async def ask() -> None:
        at = connection(x_api_key=text)
        await gate.admit(at, None)
        with pytest.raises(RateLimited) as refusal:
            await gate.admit(at, None)
        assert refusal.value.retry_after_seconds == pytest.approx(60)
        await asyncio.gather(*keys.held._noting)

    asyncio.run(ask())


def test_openapi_says_which_paths_need_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for method, path in GUARDED:
        operation = document["paths"][path][method.lower()]
        assert operation["security"] == [{"ApiKey": []}]
        assert {"401", "403", "429"} <= set(operation["responses"])
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_who_is_turned_away_is_noted_by_the_key_that_there_is(keys: Keys) -> None:
    noted: list[tuple[str, str]] = []
    gate = KeyGate(
        keys.held, TokenBuckets(), note_refusal=lambda why, key: noted.append((why, key))
    )
    text = keys.make(Scope.DETECT)
    nobodys = f"sl_{'0' * 16}_{'x' * 43}"
    wrong = f"{text[:-1]}{'a' if text[-1] != 'a' else 'b'}"
    for sent in (None, nobodys, wrong, text):
        at = connection(**({"authorization": f"Bearer {sent}"} if sent else {}))
        with pytest.raises(LoopError):
            asyncio.run(gate.admit(at, Scope.METRICS))
    own = f"key-{text.split('_')[1]}"
    assert noted == [
        ("no_key", ""),
        ("invalid_key", ""),
        ("invalid_key", own),
        ("missing_scope", own),
    ]

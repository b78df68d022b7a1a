from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loop.errors import Misconfigured, Unavailable
from store.timestamps import check_timestamp, load_roots, request_for
from store.tsa_client import TsaClient
from tests.store.test_timestamps import TEXT, at
from tests.store.tsa import DAY, Authority, Server, needs_openssl, serving

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "good")


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(lambda query: (200, authority.reply(query))) as server:
        yield server


def test_it_gets_what_the_authority_signs(authority: Authority, server: Server) -> None:
    roots = load_roots(authority.roots)
    for trusted in (authority.roots, None):
        data = TsaClient(server.url, trusted).stamp(TEXT)
        assert abs(check_timestamp(data, TEXT, roots) - datetime.now(UTC)) < DAY
    assert server.asked == ["application/timestamp-query"] * 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b""), "it answers 500"),
        ((302, b""), "it answers 302"),
        ((200, b"<html>"), "no answer of a time-stamping authority"),
        ((200, b"\x30" * 70_000), "does not end"),
    ],
)
def test_what_is_no_timestamp_is_told(
    server: Server, answer: tuple[int, bytes], words: str
) -> None:
    server.answer = lambda query: answer
    with pytest.raises(Unavailable, match=words) as found:
        TsaClient(server.url).stamp(TEXT)
    assert "SECONDLOOK_AUDIT_TSA_URL" in found.value.hint


@pytest.mark.parametrize("trusted", [True, False])
def test_an_answer_that_was_given_to_somebody_else_is_refused(
    authority: Authority, server: Server, trusted: bool
) -> None:
    client = TsaClient(server.url, authority.roots if trusted else None)
    for other, words in ((TEXT, "another nonce"), ("other\n1\nAA==\n", "something else")):
        stale = authority.reply(request_for(other).as_bytes())
        server.answer = lambda query, stale=stale: (200, stale)  # type: ignore[misc]
        with pytest.raises(Unavailable, match=words):
            client.stamp(TEXT)


def test_an_authority_that_does_not_lead_to_the_roots_is_refused(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="not trusted"):
        TsaClient(server.url, Authority(tmp_path / "other").roots).stamp(TEXT)


@pytest.mark.parametrize("days", [-1, 1])
def test_an_authority_whose_clock_is_far_from_ours_is_refused(
    authority: Authority, server: Server, tmp_path: Path, days: int
) -> None:
    wrong = Authority(tmp_path / "wrong", valid=(-9, 9))
    then = at(datetime.now(UTC) + days * DAY)
    server.answer = lambda query: (200, wrong.sign_anew(authority.reply(query), then))
    with pytest.raises(Unavailable, match="its clock says"):
        TsaClient(server.url, wrong.roots).stamp(TEXT)


def test_one_that_is_down_or_slow_is_told(authority: Authority, server: Server) -> None:
    let_go = threading.Event()

    def slow(query: bytes) -> tuple[int, bytes]:
        let_go.wait()
        return 200, authority.reply(query)

    server.answer = slow
    try:
        with pytest.raises(Unavailable, match="timed out"):
            TsaClient(server.url, timeout_s=0.2).stamp(TEXT)
    finally:
        let_go.set()
    for url in ("http://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://[/"):
        with pytest.raises(Unavailable, match="got no timestamp"):
            TsaClient(url).stamp(TEXT)


def test_a_password_in_the_address_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Unavailable, match=r"from 127\.0\.0\.1:1:") as found:
        TsaClient("http://ana:secret@127.0.0.1:1/path?token=secret").stamp(TEXT)
    assert "secret" not in found.value.message + found.value.hint


def test_roots_that_are_not_there_are_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"roots\.pem"):
        TsaClient(server.url, tmp_path / "roots.pem").stamp(TEXT)
    assert not server.asked

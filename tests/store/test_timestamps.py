from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loop.errors import BrokenRecord, Misconfigured
from store.timestamps import check_timestamp, load_roots, request_for
from tests.store.tsa import DAY, Authority, needs_openssl

pytestmark = needs_openssl
TEXT = "log.example\n7\nAAAA=\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "good")


@pytest.fixture(scope="module")
def reply(authority: Authority) -> bytes:
    return authority.reply(request_for(TEXT).as_bytes())


def at(moment: datetime) -> Callable[[bytes], bytes]:
    """Puts another time into what is stamped."""
    return lambda info: re.sub(rb"20\d{12}Z", f"{moment:%Y%m%d%H%M%S}Z".encode(), info)


def test_a_timestamp_of_a_trusted_authority_says_when(authority: Authority) -> None:
    request = request_for(TEXT)
    reply = authority.reply(request.as_bytes())
    found = check_timestamp(reply, TEXT, load_roots(authority.roots), request.nonce)
    assert abs(found - datetime.now(UTC)) < DAY
    assert check_timestamp(reply, TEXT) == found


def test_two_requests_have_different_nonces() -> None:
    assert request_for(TEXT).nonce != request_for(TEXT).nonce


@pytest.mark.parametrize("trusted", [True, False])
def test_what_is_of_something_else_or_answers_another_request_is_refused(
    authority: Authority, reply: bytes, trusted: bool
) -> None:
    roots = load_roots(authority.roots) if trusted else ()
    with pytest.raises(BrokenRecord, match="something else"):
        check_timestamp(reply, TEXT.replace("7", "8"), roots)
    with pytest.raises(BrokenRecord, match="nonce"):
        check_timestamp(reply, TEXT, roots, request_for(TEXT).nonce)


def test_an_authority_that_leads_to_another_root_is_not_trusted(
    reply: bytes, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "good")  # of the same name
    with pytest.raises(BrokenRecord, match="not trusted"):
        check_timestamp(reply, TEXT, load_roots(other.roots))
    both = tmp_path / "both.pem"
    both.write_bytes(other.roots.read_bytes() * 2)
    with pytest.raises(BrokenRecord, match="not trusted"):
        check_timestamp(reply, TEXT, load_roots(both))


def test_the_certificate_must_have_been_good_at_that_time_not_today(
    authority: Authority, reply: bytes, tmp_path: Path
) -> None:
    old = Authority(tmp_path / "old", valid=(-100, -50))
    roots = load_roots(old.roots)
    then = datetime.now(UTC) - 75 * DAY
    assert abs(check_timestamp(old.sign_anew(reply, at(then)), TEXT, roots) - then) < DAY
    for never in (-101, -49, 0):
        outside = old.sign_anew(reply, at(datetime.now(UTC) + never * DAY))
        with pytest.raises(BrokenRecord, match="not trusted"):
            check_timestamp(outside, TEXT, roots)


@pytest.mark.parametrize(
    ("usage", "critical"),
    [
        (ExtendedKeyUsageOID.CODE_SIGNING, True),
        (ExtendedKeyUsageOID.SERVER_AUTH, True),
        (ExtendedKeyUsageOID.TIME_STAMPING, False),
    ],
)
def test_a_certificate_that_is_not_for_time_stamping_alone_is_not_trusted(
    reply: bytes, tmp_path: Path, usage: ExtendedKeyUsageOID, critical: bool
) -> None:
    other = Authority(tmp_path / "other", usage=usage, critical=critical)
    with pytest.raises(BrokenRecord, match="not trusted"):
        check_timestamp(other.sign_anew(reply), TEXT, load_roots(other.roots))
    good = Authority(tmp_path / "good")
    assert check_timestamp(good.sign_anew(reply), TEXT, load_roots(good.roots))


def test_what_was_changed_under_the_signature_is_not_trusted(
    authority: Authority, reply: bytes
) -> None:
    moved = at(datetime.now(UTC) - DAY / 2)(reply)
    assert moved != reply
    with pytest.raises(BrokenRecord, match="not trusted"):
        check_timestamp(moved, TEXT, load_roots(authority.roots))


def test_a_refusal_is_told(authority: Authority) -> None:
    reply = authority.reply(b"no request")
    with pytest.raises(BrokenRecord, match="gave none, status 2"):
        check_timestamp(reply, TEXT)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x30\x03\x02\x01\x00", b"\x30\x82\xff\xff"])
def test_what_is_no_answer_is_told(data: bytes) -> None:
    with pytest.raises(BrokenRecord, match="no answer of a time-stamping authority"):
        check_timestamp(data, TEXT)


def test_granted_without_a_timestamp_is_told() -> None:
    with pytest.raises(BrokenRecord, match="cannot be read"):
        check_timestamp(b"\x30\x05\x30\x03\x02\x01\x00", TEXT)


@hypothesis_settings(deadline=None, max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_damage_does_more_than_to_be_refused_or_leave_the_time_as_it_was(
    authority: Authority, reply: bytes, place: float, bit: int, cut: bool
) -> None:
    damaged = bytearray(reply)
    index = int(place * len(reply))
    damaged[index] ^= 1 << bit
    data = bytes(damaged[:index] if cut else damaged)
    roots = load_roots(authority.roots)
    try:
        found = check_timestamp(data, TEXT, roots)
    except BrokenRecord:
        return
    assert found == check_timestamp(reply, TEXT, roots)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----"])
def test_roots_that_cannot_be_read_are_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"roots\.pem"):
        load_roots(path)

"""A log with a witness: what whoever holds the log's key and its database can do unnoticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from cluster.witness import build_witness_app
from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, Unavailable
from loop.signed_notes import Note, VerifierKey
from store import audit_log, log_witnesses
from store.audit_log import AuditLog
from store.log_files import LogFiles
from store.log_verify import check_continues, verify_files
from store.sequencer import Sequencer
from store.witness_client import WitnessClient
from store.witness_state import open_witness
from tests.store.logs import an_event, put, sqlite_log
from tests.store.test_log_files import LOG
from tests.store.test_log_verify import Forgery, entries, forgeries, written


class Switch(httpx.BaseTransport):
    """The way to a witness, which can be cut."""

    def __init__(self, app: TestClient) -> None:
        self.app = app
        self.up = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.up:
            raise httpx.ConnectError("refused", request=request)
        answer = self.app.request(request.method, request.url.path, content=request.read())
        return httpx.Response(answer.status_code, content=iter([answer.content]))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return sqlite_log(tmp_path / "home", 3)


@pytest.fixture
def way(log: AuditLog, tmp_path: Path) -> Iterator[Switch]:
    """Also makes the log ask the witness."""
    key = log.key.signer().key
    with open_witness(tmp_path / "witness", [key], "w.example/1") as witness:
        way = Switch(TestClient(build_witness_app(witness)))
        client = WitnessClient("http://w.test", witness.key, transport=way)
        log.witnesses = log_witnesses.LogWitnesses([client])
        yield way


def witness_key(log: AuditLog) -> VerifierKey:
    return log.witnesses._clients[0].key


def test_what_is_integrated_gets_cosigned(log: AuditLog, way: Switch) -> None:
    sequencer = Sequencer(log)
    for size in (4, 300):
        put(log.rows.engine, *range(log.head().size, size))
        assert sequencer.once()
        found = log.verify(witnesses=[witness_key(log)])
        assert (found.size, found.seen) == (size, {"w.example/1": size})
        assert list(found.cosigned) == ["w.example/1"]
        assert log.prove(2).checkpoint.cosigned_at(witness_key(log))


def test_a_witness_that_is_down_holds_nothing_up_and_signs_later(
    log: AuditLog, way: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    way.up = False
    put(log.rows.engine, 3)
    assert Sequencer(log).once()
    assert log.head().size == 4
    with pytest.raises(Unavailable, match=r"w\.example/1"):
        log.verify()
    way.up = True
    assert log.cosign() == {}  # it is left alone for a while
    note = log.files.checkpoint()
    assert note is not None
    assert note.cosigned_at(witness_key(log)) is None
    monkeypatch.setattr(log.witnesses, "_rests_until", 0.0)
    assert log.cosign() == {}
    assert log.verify(witnesses=[witness_key(log)]).size == 4


def test_how_much_each_witness_has_cosigned_is_known_without_asking(
    log: AuditLog, way: Switch
) -> None:
    def sizes() -> dict[str, int]:
        note = log.files.checkpoint()
        assert note is not None
        return log.witnesses.sizes(note)

    assert sizes() == {"w.example/1": 0}
    log.cosign()
    assert sizes() == {"w.example/1": 3}
    way.up = False
    put(log.rows.engine, 3)
    assert Sequencer(log).once()
    assert sizes() == {"w.example/1": 3}


def test_a_log_that_is_cosigned_anew_while_it_is_verified_was_not_set_back(
    log: AuditLog, way: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    del way
    log.cosign()

    def slowly(*arguments: Any) -> Any:
        found = verify_files(*arguments)
        put(log.rows.engine, 3, 4)
        log.integrate()
        log.cosign()
        return found

    monkeypatch.setattr(audit_log, "verify_files", slowly)
    found = log.verify()
    assert (found.size, found.seen) == (3, {"w.example/1": 3})
    assert log.head().size == 5


def test_a_checkpoint_that_has_been_overtaken_is_not_put_back(log: AuditLog, way: Switch) -> None:
    del way
    old = log.checkpoint()
    put(log.rows.engine, 3)
    log.integrate()
    assert not log.replace_checkpoint(old)
    assert Checkpoint.parse(log.checkpoint().text).size == 4


def set_back(log: AuditLog, home: Path, to: Path) -> None:
    """Files, database and keys, all as they were."""
    log.rows.engine.dispose()
    shutil.rmtree(home)
    shutil.copytree(to, home)


@pytest.mark.parametrize("grown", [0, 5])
def test_a_home_that_was_set_back_whole_is_noticed(
    log: AuditLog, way: Switch, tmp_path: Path, grown: int
) -> None:
    home = tmp_path / "home"
    log.cosign()
    shutil.copytree(home, tmp_path / "backup")
    put(log.rows.engine, 3, 4)
    log.integrate()
    log.cosign()
    set_back(log, home, tmp_path / "backup")
    if grown:  # as if nothing had happened
        put(log.rows.engine, *range(100, 100 + grown))
        log.integrate()
    verify_files(log.files, log.key.signer().key)  # by itself it is in order
    with pytest.raises(BrokenRecord, match="forked" if grown else "set back"):
        log.verify()
    if grown:
        for _ in range(2):  # said once
            log.witnesses._rests_until = 0.0
            (refusal,) = log.cosign().values()
            assert isinstance(refusal, BrokenRecord)
        event = log.tail(1)[0].event
        assert (event.type, event.details["witness"]) == ("witness.refused", "w.example/1")
        assert (event.subject["tree_size"], event.reason) == (8, refusal.message)
        assert log.rows.state().head.size == 9


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> LogFiles:
    return written(tmp_path_factory.mktemp("log"), entries(300))


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(forge=forgeries(), added=st.integers(0, 3))
def test_whatever_is_changed_with_the_key_is_noticed_by_what_a_witness_has_seen(
    genuine: LogFiles, tmp_path_factory: pytest.TempPathFactory, forge: Forgery, added: int
) -> None:
    seen: Note | None = genuine.checkpoint()
    assert seen is not None
    log = list(genuine.entries(300))
    more = [an_event(number).canonical() for number in range(added)]
    forged = written(tmp_path_factory.mktemp("forged"), [*forge(log), *more])
    size = verify_files(forged, LOG.key).size  # it is signed with the key
    if forge(log)[:300] == log:  # nothing but growth
        check_continues(forged, size, seen, LOG.key)
        return
    with pytest.raises(BrokenRecord, match=r"set back|forked"):
        check_continues(forged, size, seen, LOG.key)

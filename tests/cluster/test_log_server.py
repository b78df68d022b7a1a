from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cluster.log_server import build_log_app
from loop.checkpoints import Checkpoint
from loop.merkle import leaf_hash, root_hash
from loop.signed_notes import Note
from loop.tiles import Bundle, Tile, bundles_of, nodes_in, unpack
from store.log_files import LogFiles
from tests.store.logs import sqlite_log


@pytest.mark.parametrize("size", [1, 300, 600])
def test_a_client_of_such_logs_reads_and_checks_it_over_http(tmp_path: Path, size: int) -> None:
    log = sqlite_log(tmp_path, size)
    client = TestClient(build_log_app(log.files))

    def get(path: str) -> bytes:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        return answer.content

    note = Note.parse(get("checkpoint"))
    assert note.signed_by(log.key.signer().key)
    found = Checkpoint.parse(note.text)
    entries: list[bytes] = []
    for bundle in bundles_of(found.size):
        entries += unpack(get(bundle.path), bundle.width)
    assert entries == [entry.data for entry in log.tail(size)]
    assert root_hash(found.size, nodes_in(lambda tile: get(tile.path), found.size)) == found.root
    width = min(size, 256)
    first = get(Tile(0, 0, width).path)
    assert first == b"".join(leaf_hash(entry) for entry in entries[:width])
    assert client.get(f"/{Bundle(0, width).path}").headers["content-type"] == (
        "application/octet-stream"
    )


def test_timestamps_are_served(tmp_path: Path) -> None:
    log = sqlite_log(tmp_path, 3)
    note = log.checkpoint()
    log.files.keep_timestamp(note, b"a stamp")
    client = TestClient(build_log_app(log.files))
    stamp = client.get("/timestamps/3.tsr")
    assert (stamp.content, stamp.headers["content-type"]) == (
        b"a stamp",
        "application/timestamp-reply",
    )
    assert "immutable" in stamp.headers["cache-control"]
    stamped = client.get("/timestamps/3.checkpoint")
    assert stamped.content == str(note).encode()
    assert stamped.headers["content-type"].startswith("text/plain")


def test_nothing_else_is_served(tmp_path: Path) -> None:
    log = sqlite_log(tmp_path, 3)
    folder = log.files.folder
    (folder / ".checkpoint").write_text("a draft")
    (folder / "tile/.draft").write_text("a draft")
    log.files.keep_timestamp(log.checkpoint(), b"a stamp")
    (folder / "timestamps/.3.tsr").write_text("a draft")
    (folder / "timestamps/3.key").write_text("no stamp")
    client = TestClient(build_log_app(LogFiles(folder)))
    for path in (
        *("timestamps", "timestamps/", "timestamps/.3.tsr", "timestamps/3.key"),
        *("timestamps/4.tsr", "timestamps/03.tsr", "timestamps/../checkpoint/3.tsr"),
        *("", "tile", ".checkpoint", "tile/.draft", "../keys/log.key", "%2e%2e/keys/log.key"),
        *(
            "tile/0/../../../keys/log.key",
            "//etc/passwd",
            "tile/0/000",
            "tile/0/000.p/2",
            "log.lock",
        ),
        "log.lock",
    ):
        assert client.get(f"/{path}").status_code == 404, path
    assert client.post("/checkpoint").status_code == 405
    body = client.get("/checkpoint").content
    assert hashlib.sha256(body).digest() == hashlib.sha256(str(log.checkpoint()).encode()).digest()

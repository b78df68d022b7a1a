from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, InvalidInput, Unavailable
from loop.merkle import check_consistency, consistency_proof, inclusion_proof, root_hash
from loop.signed_notes import KeyType, Note, Signer
from loop.tiles import Tile, bundles_of, nodes_in, tiles_of
from store import log_files
from store.log_files import LogFiles
from tests.loop.test_merkle import node

LOG = Signer("example.com/log", KeyType.LOG, Ed25519PrivateKey.from_private_bytes(b"l" * 32))


def entries(start: int, end: int) -> list[bytes]:
    """As in the tree of `node`."""
    return [str(index).encode() for index in range(start, end)]


def grow(files: LogFiles, size: int, end: int) -> None:
    root = files.append(size, entries(size, end))
    text = Checkpoint("example.com/log", end, root).text()
    files.publish(Note(text, (LOG.sign(text),)))
    files.tidy(end, size)


def published(files: LogFiles) -> int:
    """The size of the log, all of which is looked at."""
    note = files.checkpoint()
    if note is None:
        return 0
    assert note.signed_by(LOG.key)
    found = Checkpoint.parse(note.text)
    assert list(files.entries(found.size)) == entries(0, found.size)
    nodes = nodes_in(files.tile, found.size)
    assert found.root == root_hash(found.size, nodes) == root_hash(found.size, node)
    for index in {0, found.size // 2, found.size - 1}:
        assert inclusion_proof(index, found.size, nodes) == inclusion_proof(index, found.size, node)
    return found.size


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from([1, 2, 5, 200, 255, 256, 257, 600]), max_size=6))
def test_a_log_grows_and_every_earlier_one_is_in_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    files, size = LogFiles(tmp_path_factory.mktemp("log")), 0
    sizes = [0, *itertools.accumulate(steps)]
    for size, end in itertools.pairwise(sizes):
        grow(files, size, end)
        assert published(files) == end
    total = sizes[-1]
    nodes = nodes_in(files.tile, total)
    for old in filter(None, sizes):
        roots = root_hash(old, nodes_in(files.tile, old)), root_hash(total, nodes)
        check_consistency(old, total, *roots, consistency_proof(old, total, nodes))


def test_the_files_are_those_that_any_client_of_such_logs_asks_for(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    for size, end in itertools.pairwise([0, 3, 256, 300]):
        grow(files, size, end)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {tile.path for tile in tiles_of(300)} | {each.path for each in bundles_of(300)}
    # The partial tile of the tree of 256, above a full one, has had a checkpoint: it stays.
    assert found == wanted | {"checkpoint", Tile(1, 0, 1).path}
    assert files.tile(Tile(0, 0, 3)) == files.tile(Tile(0, 0))[:96]  # out of the full one


def test_an_entry_that_is_too_long_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    grow(files, 0, 10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(InvalidInput):
        files.append(10, [b"x" * 70_000])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    grow(files, 0, 300)
    (tmp_path / "tile/0/000").unlink()
    with pytest.raises(BrokenRecord, match=r"tile/0/000 of the log is not there"):
        inclusion_proof(3, 300, nodes_in(files.tile, 300))


class Crash(Exception):
    pass


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: Exception) -> Iterator[list[str]]:
    """The call number ``at`` of those that change the disk raises ``error``; of a write, half of
    the bytes are there."""
    calls: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) - 1 == at:
                if name == "draft":
                    path, data = arguments
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.with_name(f".{path.name}").write_bytes(data[: len(data) // 2])
                raise error
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(log_files, "_write", counted("draft", log_files._write))
        patched.setattr(log_files.os, "fsync", counted("fsync", log_files.os.fsync))
        patched.setattr(log_files, "sync", counted("sync", log_files.sync))
        patched.setattr(Path, "replace", counted("rename", Path.replace))
        yield calls


@pytest.mark.parametrize("end", [251, 260])
def test_wherever_it_is_killed_the_log_verifies_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    for at in itertools.count():
        files = LogFiles(tmp_path / str(at))
        grow(files, 0, 250)
        with failing(monkeypatch, at, Crash()) as calls:
            try:
                grow(files, 250, end)
                killed = False
            except Crash:
                killed = True
        again = LogFiles(files.folder)
        size = published(again)
        assert size in (250, end)
        if size == 250:
            grow(again, 250, end)
            assert published(again) == end
        if not killed:
            break
    assert at == len(calls) > 10


def test_a_disk_that_does_not_take_it_is_told_and_nothing_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(tmp_path)
    grow(files, 0, 250)
    for at in range(100):
        with failing(monkeypatch, at, OSError(28, "No space left on device")) as calls:
            try:
                grow(files, 250, 260)
            except Unavailable as error:
                assert "No space left on device" in error.message
                assert published(files) in (250, 260)
                continue
        break
    assert len(calls) == at > 10
    assert published(files) == 260

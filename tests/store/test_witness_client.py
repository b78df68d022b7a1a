from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, Misconfigured, Unavailable
from loop.signed_notes import Note, VerifierKey
from loop.witnessing import Refusal, Submission, Why
from store.log_files import LogFiles
from store.witness_client import WitnessClient, cosigned
from store.witness_state import Witness, open_witness
from tests.loop.test_witnessing import LOG, ORIGIN, STRANGER, WITNESS

Handler = Callable[[httpx.Request], httpx.Response]


def said(status: int, text: str = "") -> httpx.Response:
    """As it comes over a network: not read yet."""
    return httpx.Response(status, content=iter([text.encode()]))


class Log:
    """A log in files, whose entries are their numbers; from ``fork`` on, others."""

    def __init__(self, folder: Path, fork: int = 10**6) -> None:
        self.files = LogFiles(folder)
        self.size = 0
        self._fork = fork

    def grow(self, size: int) -> Note:
        """The checkpoint with ``size`` entries, signed by the log."""
        new = range(self.size, size)
        entries = [f"{each}{'!' if each >= self._fork else ''}".encode() for each in new]
        root = self.files.append(self.size, entries)
        self.size = size
        text = Checkpoint(ORIGIN, size, root).text()
        return Note(text, (LOG.sign(text),))


class Served:
    """A witness behind a transport instead of a network; ``sizes`` are the old ones it was told."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.sizes: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/w/add-checkpoint")
        self.sizes.append(Submission.parse(request.content).old)
        try:
            note = self.witness.add_checkpoint(request.content)
        except Refusal as refusal:
            return said(refusal.why, f"{refusal.size}\n")
        return said(200, note.signatures[-1].line())


def client(key: VerifierKey, handler: Handler) -> WitnessClient:
    return WitnessClient("http://w.test/w/", key, transport=httpx.MockTransport(handler))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with open_witness(tmp_path / "witness", [LOG.key], "w.example/1") as witness:
        yield Served(witness)


def test_a_log_that_grows_is_cosigned_and_asked_for_no_more_than_is_needed(
    tmp_path: Path, served: Served
) -> None:
    log, witness = Log(tmp_path / "log"), client(served.witness.key, served)
    for size in (0, 3, 3, 256, 600):
        note = log.grow(size)
        signature = witness.cosign(note, size, log.files)
        assert note.with_signatures([signature]).cosigned_at(witness.key)
    assert served.sizes == [0, 0, 3, 3, 256]
    again = client(served.witness.key, served)  # a log that was restarted
    again.cosign(log.grow(700), 700, log.files)
    assert served.sizes[5:] == [0, 600]


def test_a_log_that_was_set_back_is_found_out(tmp_path: Path, served: Served) -> None:
    log, back = Log(tmp_path / "log"), Log(tmp_path / "back")
    witness = client(served.witness.key, served)
    witness.cosign(log.grow(300), 300, log.files)
    for asked in (witness, client(served.witness.key, served)):
        with pytest.raises(BrokenRecord, match=r"cosigned 300 entries .* has 200") as found:
            asked.cosign(back.grow(200), 200, back.files)
        assert "docs/audit-witness.md" in found.value.hint


def test_who_is_late_with_an_earlier_checkpoint_is_no_rollback(
    tmp_path: Path, served: Served
) -> None:
    log, witness = Log(tmp_path / "log"), client(served.witness.key, served)
    early, late = log.grow(3), log.grow(5)
    witness.cosign(late, 5, log.files)
    with pytest.raises(BrokenRecord, match="set back"):
        witness.cosign(early, 3, log.files)  # as long as the log shows no later one
    log.files.publish(late)
    with pytest.raises(Unavailable, match="grew meanwhile"):
        witness.cosign(early, 3, log.files)


@pytest.mark.parametrize("size", [300, 301, 600])
def test_a_log_that_forked_is_found_out(tmp_path: Path, served: Served, size: int) -> None:
    log, forked = Log(tmp_path / "log"), Log(tmp_path / "forked", fork=299)
    witness = client(served.witness.key, served)
    witness.cosign(log.grow(300), 300, log.files)
    for asked in (witness, client(served.witness.key, served)):
        with pytest.raises(BrokenRecord, match=rf"forked: the 300 entries .* of the {size}"):
            asked.cosign(forked.grow(size), size, forked.files)
    witness.cosign(log.grow(size), size, log.files)  # who is honest goes on


def test_a_tile_that_is_gone_is_no_fork(tmp_path: Path, served: Served) -> None:
    log, witness = Log(tmp_path / "log"), client(served.witness.key, served)
    witness.cosign(log.grow(300), 300, log.files)
    note = log.grow(500)
    (log.files.folder / "tile/0/001.p/244").unlink()
    with pytest.raises(BrokenRecord, match=r"tile/0/001\.p/244 of the log is not there"):
        witness.cosign(note, 500, log.files)


@pytest.mark.parametrize(
    ("status", "text", "error", "words"),
    [
        (Why.UNKNOWN_LOG, "", Misconfigured, "does not know this log"),
        (Why.NOT_SIGNED, "", Misconfigured, "does not know this log"),
        (Why.MALFORMED, "No.\n", Unavailable, "it answers 400: No."),
        (503, "", Unavailable, "it answers 503"),
        (302, "", Unavailable, "it answers 302"),
        (Why.OTHER_SIZE, "many\n", Unavailable, "does not name the size"),
        (Why.OTHER_SIZE, "1\n", Unavailable, "grew meanwhile"),
        (Why.OTHER_SIZE, "7\n", BrokenRecord, "cosigned 7 entries"),
        (Why.INCONSISTENT, "", BrokenRecord, "forked"),
        (200, "", Misconfigured, "has not cosigned"),
        (200, "x" * 70_000, Unavailable, "does not end"),
        (200, "<html></html>\n", Misconfigured, "has not cosigned"),
        (200, "\n\n", Misconfigured, "has not cosigned"),
    ],
)
def test_what_else_a_witness_may_answer(
    tmp_path: Path, status: int, text: str, error: type[LoopError], words: str
) -> None:
    log = Log(tmp_path)
    witness = client(WITNESS.key, lambda _: said(status, text))
    with pytest.raises(error, match=words):
        witness.cosign(log.grow(5), 5, log.files)


def test_a_cosignature_counts_only_if_it_is_the_witnesss_own_and_of_this_checkpoint(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path)
    early, note = log.grow(4), log.grow(5)

    def answered(*lines: str) -> Note:
        witness = client(WITNESS.key, lambda _: said(200, "".join(lines)))
        return note.with_signatures([witness.cosign(note, 5, log.files)])

    mine, earlier = WITNESS.sign(note.text, 1700000000), WITNESS.sign(note.text, 1600000000)
    strange = STRANGER.sign(note.text, 1700000000)
    assert answered(mine.line()).cosigned_at(WITNESS.key) == 1700000000
    found = answered(strange.line(), mine.line(), earlier.line())
    assert found == answered(mine.line())  # neither the stranger's nor the older one
    for wrong in (WITNESS.sign(early.text, 1), WITNESS.sign(note.text, 0), strange):
        with pytest.raises(Misconfigured, match="has not cosigned"):
            answered(wrong.line())
    with pytest.raises(Misconfigured, match="has not cosigned"):
        answered(mine.line(), WITNESS.sign(early.text, 1).line())


def test_a_witness_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    log = Log(tmp_path)
    witness = WitnessClient(url, WITNESS.key, timeout_s=0.5)
    with pytest.raises(Unavailable, match=r"w.example/1 at http://127.*did not cosign") as found:
        witness.cosign(log.grow(1), 1, log.files)
    assert "SECONDLOOK_AUDIT_WITNESSES" in found.value.hint
    witness.close()


def test_all_are_asked_and_those_that_answer_are_added(tmp_path: Path, served: Served) -> None:
    log = Log(tmp_path / "log")
    note = log.grow(5)
    mine, down = (
        client(served.witness.key, served),
        client(WITNESS.key, lambda _: said(503)),
    )
    found, errors = cosigned(note, [down, mine], log.files)
    assert found.signed_by(LOG.key)
    assert found.cosigned_at(served.witness.key)
    assert {name: type(each) for name, each in errors.items()} == {WITNESS.name: Unavailable}
    assert cosigned(note, [], log.files) == (note, {})

"""The witness as it is run: a process of its own, asked over HTTP."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from cluster import witness as cluster_witness
from cluster.cli import app
from cluster.witness import build_witness_app
from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, Misconfigured, Unavailable
from loop.signed_notes import Note, VerifierKey
from store import witness_state
from store.witness_client import WitnessClient
from store.witness_state import open_witness, witness_signer
from tests.loop.test_witnessing import LOG, ORIGIN, submission
from tests.store.test_witness_client import Log

ROOT = Path(__file__).parents[2]
CHECKPOINT = f"/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"


def command(home: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "cluster.cli", "audit", "witness", "--home", str(home)]
    return [*start, "--port", "0", "--json", *options]


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    key: VerifierKey

    def client(self) -> WitnessClient:
        return WitnessClient(self.url, self.key)

    def last(self) -> Checkpoint:
        """As an auditor asks for it."""
        note = Note.parse(httpx.get(f"{self.url}{CHECKPOINT}", trust_env=False).content)
        assert note.signed_by(LOG.key)
        assert note.cosigned_at(self.key)
        return Checkpoint.parse(note.text)


@contextmanager
def running(home: Path) -> Iterator[Running]:
    process = subprocess.Popen(
        command(home, "--log", str(LOG.key)), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the witness ended"
            said += line
        told = json.loads(said)
        yield Running(process, told["url"], VerifierKey.parse(told["key"]))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_a_log_that_grows_is_set_back_and_forks_past_a_witness_that_is_killed(
    tmp_path: Path,
) -> None:
    home, log = tmp_path / "witness", Log(tmp_path / "log")
    made = witness_signer(home, "w.example/1")
    with running(home) as witness:
        assert witness.key == made.key
        asked = witness.client()
        note = log.grow(300)
        signature = asked.cosign(note, 300, log.files)
        assert note.with_signatures([signature]).cosigned_at(witness.key)
        assert witness.last().size == 300
        with pytest.raises(Misconfigured, match="Another process"), open_witness(home, []):
            pass

        def grow() -> None:
            """Until the witness is no more."""
            for size in range(301, 100_000):
                try:
                    asked.cosign(log.grow(size), size, log.files)
                except Unavailable:
                    return
                cosigned.append(size)
                some.set()

        cosigned: list[int] = []
        some = threading.Event()
        growing = threading.Thread(target=grow)
        growing.start()
        assert some.wait(60)
        witness.process.send_signal(signal.SIGKILL)
        growing.join()
    with running(home) as witness:
        # The last one may have been kept, and not have been answered any more.
        assert witness.last().size in (cosigned[-1], cosigned[-1] + 1)
        seen = witness.last().size
        back, forked = Log(tmp_path / "back"), Log(tmp_path / "forked", fork=200)
        with pytest.raises(BrokenRecord, match=rf"set back: .* {seen} entries .* has 299"):
            witness.client().cosign(back.grow(299), 299, back.files)
        for size in (seen, seen + 5):
            with pytest.raises(BrokenRecord, match=rf"forked: the {seen} entries .* {size}"):
                witness.client().cosign(forked.grow(size), size, forked.files)
        assert witness.last().size == seen
        size = log.size + 1
        witness.client().cosign(log.grow(size), size, log.files)
        assert witness.last().size == size
        witness.process.terminate()
        assert witness.process.wait(30) in (0, -signal.SIGTERM)


def test_two_processes_that_start_at_once_are_one_witness(tmp_path: Path) -> None:
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(
                    command(tmp_path / "witness", "--print-key"),
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for _ in range(2)
        ]
        one, other = (each.communicate(timeout=60)[0] for each in both)
    assert json.loads(one) == json.loads(other)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[TestClient]:
    with open_witness(tmp_path / "witness", [LOG.key], "w.example/1") as witness:
        yield TestClient(build_witness_app(witness), raise_server_exceptions=False)


def test_the_answers_are_those_of_the_protocol(web: TestClient) -> None:
    def ask(old: int, size: int, fork: int = 10**6) -> httpx.Response:
        return web.post("/add-checkpoint", content=str(submission(old, size, fork)).encode())

    key = VerifierKey.parse(web.get("/key").text)
    assert web.get("/healthz").status_code == 200
    assert web.get(CHECKPOINT).status_code == 404
    first = ask(0, 10)
    assert first.status_code == 200
    note = Note.parse(f"{submission(0, 10).checkpoint.text}\n{first.text}".encode())
    assert note.cosigned_at(key)
    assert web.get(CHECKPOINT).text == f"{submission(0, 10).checkpoint}{first.text}"
    conflict = ask(3, 12)
    assert (conflict.status_code, conflict.text) == (409, "10\n")
    assert conflict.headers["content-type"] == "text/x.tlog.size"
    assert ask(10, 12, fork=9).status_code == 422
    assert ask(10, 10, fork=9).status_code == 422
    assert ask(10, 9).status_code == 400
    assert web.post("/add-checkpoint", content=b"old 1\n").status_code == 400
    body = str(submission(0, 10))
    unknown = body.replace(ORIGIN, "example.com/other").encode()
    assert web.post("/add-checkpoint", content=unknown).status_code == 404
    strange = body.replace(f"— {ORIGIN}", "— example.com/other").encode()
    assert web.post("/add-checkpoint", content=strange).status_code == 403
    assert web.get("/add-checkpoint").status_code == 405
    assert web.get("/other").status_code == 404


def test_too_much_is_not_read(web: TestClient) -> None:
    assert web.post("/add-checkpoint", content=b"x" * 2**17).status_code == 400
    assert web.post("/add-checkpoint", content=b"x" * (2**17 + 1)).status_code == 413


class Lines:
    """What the process writes into its own log."""

    def __init__(self) -> None:
        self.written: list[dict[str, str]] = []

    def warning(self, event: str, **fields: str) -> None:
        self.written.append({"event": event, **fields})

    error = warning


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    found = Lines()
    monkeypatch.setattr(cluster_witness, "_log", found)
    return found


def test_what_is_wrong_here_is_not_told_to_strangers(
    web: TestClient, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    asked = str(submission(0, 10)).encode()
    for failing, status in ((full, 503), (broken, 500)):
        monkeypatch.setattr(witness_state, "write_private", failing)
        answer = web.post("/add-checkpoint", content=asked)
        assert answer.status_code == status
        for word in ("space", "secret", "Traceback", "/"):
            assert word not in answer.text
    assert "No space left on device" in lines.written[0]["message"]
    assert web.get(CHECKPOINT).status_code == 404


def test_a_checkpoint_that_the_log_signed_and_that_is_refused_is_put_on_record(
    web: TestClient, lines: Lines
) -> None:
    web.post("/add-checkpoint", content=str(submission(0, 10)).encode())
    forked = submission(10, 10, fork=9)
    web.post("/add-checkpoint", content=str(forked).encode())
    assert [each["checkpoint"] for each in lines.written] == [str(forked.checkpoint)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log", "nonsense"], "no public key"),
        (["--log", f"{LOG.key}x"], "no public key"),
        (["--host", "203.0.113.1"], "Nothing can listen"),
    ],
)
def test_what_it_cannot_be_started_with_is_told(
    tmp_path: Path, options: list[str], words: str
) -> None:
    with pytest.raises(LoopError, match=words):
        CliRunner().invoke(app, command(tmp_path, *options)[3:], catch_exceptions=False)


def test_other_commands_do_not_wait_for_a_web_server() -> None:
    code = "import sys, cluster.commands.audit_witness; print('uvicorn' in sys.modules)"
    alone = [sys.executable, "-c", code]
    done = subprocess.run(alone, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.serve_load import Plan
from bench.serve_process import apply_load, events, process, wait_for


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        Handler.asked += 1

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def plan(port: int, tmp_path: Path) -> Plan:
    image = tmp_path / "1.jpg"
    image.write_bytes(b"an image")
    return Plan("127.0.0.1", port, "/", (str(image),), seconds=600.0, warmup=0.0)


def wait_for_requests(more: int) -> None:
    wanted, deadline = Handler.asked + more, time.monotonic() + 60
    while Handler.asked < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_load_ends_with_what_is_done_meanwhile(plan: Plan, tmp_path: Path) -> None:
    seen: list[str] = []
    found = apply_load(
        plan,
        os.getpid(),
        tmp_path / "log.txt",
        observe=lambda event: seen.append(event["event"]),
        meanwhile=lambda: wait_for_requests(20),
    )
    assert seen == ["begin", "end", "result"]
    assert found["images"] > 0
    assert found["errors"] == 0
    assert found["server_cpu_seconds"] > 0
    assert found["memory_bytes"] > 0


def test_what_fails_meanwhile_is_raised_and_ends_the_load(plan: Plan, tmp_path: Path) -> None:
    def fail() -> None:
        raise LookupError("no such version")

    with pytest.raises(LookupError, match="no such version"):
        apply_load(plan, os.getpid(), tmp_path / "log.txt", meanwhile=fail)


def test_a_process_without_a_result_is_an_error_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with (
        process(["bench.serve_load"], (), log) as child,
        pytest.raises(RuntimeError, match="JSONDecodeError"),
    ):
        list(events(child, "no plan", log))


def test_a_server_that_ends_before_it_answers_is_an_error_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with (
        process(["bench.no_such_module"], (), log, piped=False) as child,
        pytest.raises(RuntimeError, match="No module named"),
    ):
        wait_for("http://127.0.0.1:1/", child, log)
    assert child.poll() is not None

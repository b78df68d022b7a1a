"""An HTTP server that fails for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class FlakyServer:
    url: str
    requests: int = 0


@contextmanager
def flaky_server(
    failures: int, body: bytes = b"at last", missing_bytes: int = 0
) -> Iterator[FlakyServer]:
    """Answers 503 ``failures`` times, and then ``body`` to every GET, which may be short of what
    was announced by ``missing_bytes``."""

    length = str(len(body) + missing_bytes)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            failed = state.requests <= failures
            self.send_response(503 if failed else 200)
            self.send_header("Content-Length", "0" if failed else length)
            self.end_headers()
            if not failed:
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", length)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = FlakyServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

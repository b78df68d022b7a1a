"""A Redis server of our own, in which a head keeps what it must not forget."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from store.processes import free_port


@contextmanager
def redis_server(host: str) -> Iterator[str]:
    """Its address, HOST:PORT. Skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not here (Debian: redis-server)")
    port = free_port()
    command = [program, "--bind", host, "--port", str(port), "--save", "", "--protected-mode", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"{host}:{port}"
        finally:
            process.terminate()

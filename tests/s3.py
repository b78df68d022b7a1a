"""A server that speaks S3's protocol (moto's), in a process of its own."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from store.objects import Bucket
from store.storage_url import BucketStorage, parse_storage_url

_START_SECONDS = 60.0
# What the server wants is that there are some; it checks none.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
_numbers = itertools.count()


@dataclass(slots=True)
class S3Server:
    port: int
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", self.host, "--port", str(self.port)],
            env=os.environ | CREDENTIALS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(self.endpoint, timeout=5, trust_env=False)
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, "the S3 server ended"
                assert time.monotonic() < deadline, "the S3 server did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def bucket(self) -> str:
        """A new bucket's ``SECONDLOOK_STORAGE_URL``."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        client(self.endpoint).create_bucket(Bucket=name)
        return f"s3://{name}/second-look?endpoint_url={self.endpoint}"


def client(endpoint: str) -> Any:
    import boto3

    session = boto3.session.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name="us-east-1"
    )
    return session.client("s3", endpoint_url=endpoint)


def open_bucket(url: str) -> Bucket:
    storage = parse_storage_url(url)
    assert isinstance(storage, BucketStorage)
    return Bucket(storage)


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[S3Server]:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    server = S3Server(port, host)
    server.start()
    try:
        yield server
    finally:
        server.stop()

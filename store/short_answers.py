"""HTTP to parties that have little to say, and must not keep the log waiting: witnesses, TSAs."""

from __future__ import annotations

import time

import httpx

# More would only take time.
_MOST_BYTES = 2**16


class Unanswered(Exception):
    """Nothing came that could be read; why, in words."""


def ask(
    http: httpx.Client,
    method: str,
    url: str,
    timeout_s: float,
    body: bytes | None = None,
    content_type: str = "",
) -> tuple[int, bytes]:
    """Status and body of an answer that may take ``timeout_s`` as a whole. Raises `Unanswered`."""
    until = time.monotonic() + timeout_s
    # Uncompressed, what comes is not larger than what is received.
    headers = {"accept-encoding": "identity"}
    if content_type:
        headers["content-type"] = content_type
    received = b""
    try:
        with http.stream(method, url, content=body, headers=headers) as response:
            for part in response.iter_raw():
                received += part
                if len(received) > _MOST_BYTES or time.monotonic() > until:
                    raise Unanswered("its answer does not end")
            return response.status_code, received
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unanswered(str(error) or type(error).__name__) from error

"""Asks a time-stamping authority over HTTP (RFC 3161, section 3.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from loop.errors import BrokenRecord, Unavailable
from store.short_answers import Unanswered, ask
from store.timestamps import check_timestamp, load_roots, request_for

# Between its clock and this machine's: with more, one of the two is wrong, and what was stamped
# last would not say when the next one is due.
_MOST_APART = timedelta(hours=1)
_MINUTE = "%Y-%m-%d %H:%M"


class TsaClient:
    """The one at ``url``; its answer may take ``timeout_s``. With a file of ``roots``, it is only
    believed if it leads to one of them."""

    def __init__(self, url: str, roots: Path | None = None, timeout_s: float = 10.0) -> None:
        self._url = url
        self._roots = roots
        self._timeout_s = timeout_s

    def stamp(self, text: str) -> bytes:
        """The TimeStampResp of a checkpoint's signed ``text``, in DER, checked. Raises
        `Unavailable` if there is none that is good, `Misconfigured` if the roots cannot be read."""
        roots, request = load_roots(self._roots), request_for(text)
        try:
            with httpx.Client(timeout=self._timeout_s) as http:
                query = request.as_bytes(), "application/timestamp-query"
                status, data = ask(http, "POST", self._url, self._timeout_s, *query)
        except Unanswered as error:
            raise self._unavailable(f"{error}.") from error
        if status != httpx.codes.OK:
            raise self._unavailable(f"it answers {status}.")
        try:
            at = check_timestamp(data, text, roots, request.nonce)
        except BrokenRecord as error:
            raise self._unavailable(error.message) from error
        now = datetime.now(UTC)
        if abs(at - now) > _MOST_APART:
            raise self._unavailable(f"its clock says {at:{_MINUTE}}, and this one {now:{_MINUTE}}.")
        return data

    def _unavailable(self, why: str) -> Unavailable:
        host = self._url.partition("//")[2].partition("/")[0].rpartition("@")[2]  # no password
        return Unavailable(
            f"The log's checkpoint got no timestamp from {host}: {why}",
            hint="Look at SECONDLOOK_AUDIT_TSA_URL and SECONDLOOK_AUDIT_TSA_ROOTS. It is tried "
            "again by itself.",
        )

"""Timestamps (RFC 3161) of a log's checkpoints: what is asked of a time-stamping authority (TSA),
and what is believed of its answer.

What is stamped is the SHA-256 of a checkpoint's signed text: its three lines, without signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.verify import SHA256_OID

from loop.errors import BrokenRecord, Misconfigured
from store.timestamp_der import sorted_certificates


def request_for(text: str) -> TimeStampRequest:
    """With a new nonce; the TSA's certificates are to be in the answer."""
    return TimestampRequestBuilder(text.encode(), HashAlgorithm.SHA256).build()


def check_timestamp(
    data: bytes, text: str, roots: Sequence[Certificate] = (), nonce: int | None = None
) -> datetime:
    """When ``data``, a TimeStampResp in DER, says that ``text`` was there.

    Without ``roots``, anybody could have made it: only what it is of is checked, and the ``nonce``
    of the request if there is one. With them, also its signature, and that the certificate is for
    time-stamping (RFC 3161, section 2.3), was good at that time and leads to one of ``roots``.
    Whether it was revoked is not looked up. Raises `BrokenRecord`.
    """
    try:
        answer = decode_timestamp_response(sorted_certificates(data))
    except ValueError as error:
        raise BrokenRecord("It is no answer of a time-stamping authority (RFC 3161).") from error
    if answer.status != PKIStatus.GRANTED:
        words = "; ".join(answer.status_string) or "no reason given"
        raise BrokenRecord(
            f"The time-stamping authority gave none, status {answer.status}: {words}."
        )
    try:
        return _checked(answer, text, roots, nonce)
    except VerificationError as error:
        raise BrokenRecord(f"The timestamp is not trusted: {error}.") from error
    except ValueError as error:
        raise BrokenRecord(f"The timestamp cannot be read: {error}.") from error


def load_roots(path: Path | None) -> tuple[Certificate, ...]:
    """The roots that are trusted, one PEM behind the other; none without a file. Raises
    `Misconfigured`."""
    if path is None:
        return ()
    try:
        return tuple(load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no certificate in PEM is in it"
        raise Misconfigured(
            f"The roots of time-stamping authorities in {path} cannot be read: {why}.",
            hint="Name a file with the authority's root certificate in PEM: "
            "SECONDLOOK_AUDIT_TSA_ROOTS, or --tsa-roots.",
        ) from error


def _checked(
    answer: TimeStampResponse, text: str, roots: Sequence[Certificate], nonce: int | None
) -> datetime:
    info = answer.tst_info
    imprint = info.message_imprint
    digest = hashlib.sha256(text.encode()).digest()
    if imprint.hash_algorithm.dotted_string != SHA256_OID or imprint.message != digest:
        raise BrokenRecord("The timestamp is of something else, not of this checkpoint.")
    if nonce is not None and info.nonce != nonce:
        raise BrokenRecord("The timestamp answers another request: it has another nonce.")
    if roots:
        VerifierBuilder(roots=list(roots)).build().verify(answer, digest)
    return info.gen_time

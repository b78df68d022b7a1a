"""What a witness cosigns: nothing but growth (https://c2sp.org/tlog-witness).

A log asks with a `Submission`; `cosigned` says whether it goes on from the last checkpoint that the
witness cosigned for it. Whoever calls keeps what it returns before anybody sees the cosignature,
and asks about one log only once at a time: the rules here are as good as the state given to them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from loop.checkpoints import MOST_HASHES, Checkpoint, parse_hash, parse_number
from loop.errors import BrokenRecord, InvalidInput, LoopError
from loop.merkle import EMPTY_ROOT, check_consistency
from loop.signed_notes import KeyType, Note, Signer, VerifierKey

_URL = re.compile(r"https?://[^/?#\s;]+(/[^?#\s;]*)?")


class Why(IntEnum):
    """Why a witness refuses: the protocol's status codes of HTTP."""

    MALFORMED = 400
    NOT_SIGNED = 403
    UNKNOWN_LOG = 404
    OTHER_SIZE = 409
    INCONSISTENT = 422


class Refusal(LoopError):
    """Nothing is cosigned.

    ``size`` is that of the last checkpoint cosigned, with `Why.OTHER_SIZE`. ``signed`` is what the
    log did sign, if it did: kept, it may show that the log misbehaved.
    """

    code = "not_cosigned"

    def __init__(
        self, why: Why, message: str, *, size: int = 0, signed: Note | None = None
    ) -> None:
        super().__init__(message)
        self.why = why
        self.size = size
        self.signed = signed


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of ``add-checkpoint``: that the log of ``checkpoint`` goes on from its first ``old``
    entries, with a proof of it (RFC 6962, section 2.1.2; 32 bytes a hash)."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: Note

    @property
    def origin(self) -> str:
        return self.checkpoint.text.partition("\n")[0]

    def __str__(self) -> str:
        hashes = [base64.b64encode(each).decode() for each in self.proof]
        return "\n".join([f"old {self.old}", *hashes, "", str(self.checkpoint)])

    @classmethod
    def parse(cls, data: bytes) -> Submission:
        """Raises `Refusal`."""
        head, blank, note = data.partition(b"\n\n")
        try:
            first, *hashes = head.decode("ascii").split("\n")
            if not blank or not first.startswith("old "):
                raise BrokenRecord("The first line says old, and the size before.")
            if len(hashes) > MOST_HASHES:
                raise BrokenRecord("The proof has more hashes than any log needs.")
            old = parse_number(first.removeprefix("old "))
            return cls(old, tuple(map(parse_hash, hashes)), Note.parse(note))
        except UnicodeDecodeError as error:
            raise Refusal(Why.MALFORMED, "The request is no text.") from error
        except BrokenRecord as error:
            raise Refusal(Why.MALFORMED, error.message) from error


def cosigned(
    submission: Submission,
    *,
    last: Note | None,
    logs: Sequence[VerifierKey],
    witness: Signer,
    at: int,
) -> Note:
    """The checkpoint with the log's signatures and, last, the cosignature of ``witness``: from now
    on the ``last`` one. Raises `Refusal`.

    ``last`` is what this returned before for the same origin, ``logs`` are the keys trusted for
    that origin, ``at`` is the time in seconds since 1970.
    """
    if not logs:
        raise Refusal(Why.UNKNOWN_LOG, "This witness does not know the log.")
    signed = _signed(submission.checkpoint, logs)
    try:
        _check(submission, _seen(last))
    except Refusal as refusal:
        refusal.signed = signed
        raise
    return signed.with_signatures([witness.sign(signed.text, at)])


def _signed(note: Note, logs: Sequence[VerifierKey]) -> Note:
    """``note`` with the signatures of ``logs`` alone."""
    try:
        keys = {(key.name, key.id) for key in logs if note.signed_by(key)}
    except BrokenRecord as error:
        raise Refusal(Why.NOT_SIGNED, error.message) from error
    if not keys:
        raise Refusal(Why.NOT_SIGNED, "No key that is trusted for the log has signed this.")
    found = (each for each in note.signatures if (each.name, each.key_id) in keys)
    return Note(note.text, tuple(dict.fromkeys(found)))


def _seen(last: Note | None) -> Checkpoint:
    return Checkpoint.parse(last.text) if last else Checkpoint("", 0, EMPTY_ROOT)


def _check(submission: Submission, seen: Checkpoint) -> None:
    new = _checkpoint(submission.checkpoint.text)
    if submission.old > new.size:
        raise Refusal(Why.MALFORMED, f"A log of {new.size} entries never had {submission.old}.")
    if submission.old != seen.size:
        raise Refusal(Why.OTHER_SIZE, f"The last size was {seen.size}.", size=seen.size)
    try:
        if seen.size:
            check_consistency(seen.size, new.size, seen.root, new.root, submission.proof)
        elif submission.proof:
            raise BrokenRecord("Of an empty log there is nothing to prove.")
    except BrokenRecord as error:
        raise Refusal(Why.INCONSISTENT, error.message) from error


def _checkpoint(text: str) -> Checkpoint:
    try:
        return Checkpoint.parse(text)
    except BrokenRecord as error:
        # The protocol has an answer of its own for an empty log with the root of another one.
        empty = text.split("\n")[1:2] == ["0"]
        raise Refusal(Why.INCONSISTENT if empty else Why.MALFORMED, error.message) from error


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """Where a witness is asked, without a slash at the end, and the key that it cosigns with."""

    url: str
    key: VerifierKey

    def __str__(self) -> str:
        return f"{self.url} {self.key}"

    @classmethod
    def parse(cls, text: str) -> WitnessAddress:
        """Out of ``URL KEY``. Raises `InvalidInput`."""
        url, _, vkey = text.strip().partition(" ")
        if not _URL.fullmatch(url) or not vkey.strip():
            raise InvalidInput(
                f"{text.strip()[:80]!r} is no witness: it is said as URL KEY, such as "
                "https://witness.example name+1a2b3c4d+BAbC…="
            )
        key = VerifierKey.parse(vkey)
        if key.type is not KeyType.WITNESS:
            raise InvalidInput(f"The key of {key.name} is that of a log, not of a witness.")
        return cls(url.rstrip("/"), key)

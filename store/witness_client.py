"""The log's side of a witness (https://c2sp.org/tlog-witness): ask for a cosignature, believe it
only after it was verified."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from threading import Thread

import httpx

from loop.checkpoints import Checkpoint, parse_number
from loop.errors import BrokenRecord, LoopError, Misconfigured, NotFound, Unavailable
from loop.merkle import consistency_proof
from loop.signed_notes import Note, Signature, VerifierKey
from loop.tiles import nodes_in
from loop.witnessing import Submission, Why
from store.log_files import LogFiles
from store.short_answers import Unanswered, ask

_GREW = "the log grew meanwhile, by the hand of another process"


class WitnessClient:
    """The witness at ``url`` that cosigns with ``key``. Nothing that is waited for on the way to it
    may take longer than ``timeout_s``, and neither may its whole answer."""

    def __init__(
        self,
        url: str,
        key: VerifierKey,
        timeout_s: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.key = key
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        # Named by a setting: no proxy for the internet in between.
        self._http = httpx.Client(timeout=timeout_s, trust_env=False, transport=transport)
        self._seen = 0  # the size that this witness cosigned last, as far as is known here

    def close(self) -> None:
        self._http.close()

    @property
    def seen(self) -> int:
        """How many entries it has cosigned, as far as this process knows: 0 before it did."""
        return self._seen

    def cosign(self, note: Note, size: int, files: LogFiles) -> Signature:
        """The cosignature of ``note``, the checkpoint of the first ``size`` entries in ``files``:
        the newest, for of an earlier one there is no cosignature any more.

        Raises `Unavailable` if the witness does not answer or the log has grown meanwhile,
        `Misconfigured` if it is not the one with this key or does not know the log, and
        `BrokenRecord` if it has seen another log: one with more entries, or with other ones.
        """
        old = self._seen if self._seen <= size else 0
        status, body = self._ask(note, old, size, files)
        if status == Why.OTHER_SIZE:
            self._seen = old = self._size(body)
            if old > size:
                raise self._seen_more(old, size, files)
            status, body = self._ask(note, old, size, files)
        if status != httpx.codes.OK:
            raise self._refused(status, body, old, size)
        signature = self._verified(note, body)
        self._seen = size
        return signature

    def latest(self, origin: str) -> Note:
        """The checkpoint that it cosigned last for the log of that name. Nothing in it is verified.

        Raises `NotFound` if there is none, `Unavailable`, `BrokenRecord` if it is no checkpoint.
        """
        path = hashlib.sha256(origin.encode()).hexdigest()
        status, body = self._receive("GET", f"{path}/checkpoint")
        if status == httpx.codes.NOT_FOUND:
            raise NotFound(f"{self.key.name} has cosigned nothing of {origin} yet.")
        if status != httpx.codes.OK:
            raise self._unavailable(f"it answers {status}")
        return Note.parse(body.encode())

    def _ask(self, note: Note, old: int, size: int, files: LogFiles) -> tuple[int, str]:
        proof = consistency_proof(old, size, nodes_in(files.tile, size))
        body = str(Submission(old, tuple(proof), note)).encode()
        return self._receive("POST", "add-checkpoint", body)

    def _receive(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        try:
            url = f"{self._url}/{path}"
            status, received = ask(self._http, method, url, self._timeout_s, body)
        except Unanswered as error:
            raise self._unavailable(str(error)) from error
        return status, received.decode("utf-8", "replace")

    def _size(self, body: str) -> int:
        try:
            return parse_number(body.removesuffix("\n"))
        except BrokenRecord as error:
            raise self._unavailable("it does not name the size that it has seen") from error

    def _seen_more(self, old: int, size: int, files: LogFiles) -> LoopError:
        published = files.checkpoint()
        if published and Checkpoint.parse(published.text).size >= old:
            return self._unavailable(_GREW)
        return BrokenRecord(
            f"The log was set back: {self.key.name} has cosigned {old} entries of it, and now it "
            f"has {size}.",
            hint="Keep the log as it is, and compare it with a backup and with the witness's "
            "checkpoint. docs/audit-witness.md says how.",
        )

    def _refused(self, status: int, body: str, old: int, size: int) -> LoopError:
        if status == Why.INCONSISTENT:
            return BrokenRecord(
                f"The log forked: the {old} entries that {self.key.name} has cosigned are not the "
                f"first ones of the {size} that it has now.",
                hint="Keep the log as it is. secondlook audit verify says whether its own files "
                "agree; docs/audit-witness.md says what to do then.",
            )
        if status == Why.OTHER_SIZE:
            return self._unavailable(_GREW)
        if status in (Why.UNKNOWN_LOG, Why.NOT_SIGNED):
            return Misconfigured(
                f"The witness {self.key.name} at {self._url} does not know this log, or not its "
                "key.",
                hint="Whoever runs it has to name the log's public key: secondlook audit witness "
                "--log KEY.",
            )
        return self._unavailable(f"it answers {status}: {body[:80]}".rstrip(": \n"))

    def _verified(self, note: Note, body: str) -> Signature:
        """The newest cosignature of ``key`` among the lines of ``body``."""
        try:
            answered = Note.parse(f"{note.text}\n{body}".encode())
            at = answered.cosigned_at(self.key)
        except BrokenRecord as error:
            raise self._other_key() from error
        if not at:  # none at all, or one that does not say when
            raise self._other_key()
        mine = (self.key.name, self.key.id)
        found = (each for each in answered.signatures if (each.name, each.key_id) == mine)
        return max(found, key=lambda each: each.value)  # which begins with the time

    def _other_key(self) -> Misconfigured:
        return Misconfigured(
            f"What answers at {self._url} has not cosigned with the key of {self.key.name}.",
            hint="Compare SECONDLOOK_AUDIT_WITNESSES with what the witness prints: secondlook "
            "audit witness --print-key.",
        )

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"The witness {self.key.name} at {self._url} did not cosign: {why}.",
            hint="See to it that it is up and can be reached from here, or take it out of "
            "SECONDLOOK_AUDIT_WITNESSES.",
        )


def cosigned(
    note: Note, witnesses: Sequence[WitnessClient], files: LogFiles
) -> tuple[Note, dict[str, LoopError]]:
    """``note``, the log's newest checkpoint, with the cosignatures of those ``witnesses`` that gave
    one, and why the others did not, by name. All are asked at once."""
    if not witnesses:
        return note, {}
    size = Checkpoint.parse(note.text).size

    signatures: list[Signature] = []
    refusals: dict[str, LoopError] = {}

    def ask_one(witness: WitnessClient) -> None:
        try:
            signatures.append(witness.cosign(note, size, files))
        except LoopError as error:
            refusals[witness.key.name] = error

    # No pool: it takes nothing any more when a process is at its end, which is when a command does
    # this.
    threads = [Thread(target=ask_one, args=(each,), name="witness") for each in witnesses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return note.with_signatures(signatures), refusals

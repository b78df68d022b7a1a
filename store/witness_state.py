"""What a witness must never forget: the last checkpoint that it cosigned for each log.

A folder with two files, both for their owner alone: the key (`store.witness_key`) and the
checkpoints, each with the signature of its log and the witness's own, so that damage shows. They
are on the disk before a cosignature leaves. One process at a time has the folder.

What it cannot notice is that the whole folder was set back to an earlier state: a witness that is
restored from a backup has to begin with a new key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, Misconfigured, Unavailable
from loop.signed_notes import KeyType, Note, Signer, VerifierKey
from loop.witnessing import Submission, cosigned
from store.durable import sync
from store.private_files import private_folder, write_private, write_private_once
from store.witness_key import make_key, read_key

_KEY, _STATE = "witness.key", "checkpoints.json"
_NONE_YET = b"{}\n"
_HINT = (
    "Do not begin anew with this key: the witness would cosign what it has to refuse. Keep the "
    "folder as it is and find out what happened; then begin in an empty folder, with a new key."
)


class Witness:
    """For the ``logs`` with these keys, each named by the origin of its log. `open_witness` makes
    it. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        logs: Sequence[VerifierKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._signer = signer
        self._logs = tuple(logs)
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._last = _read(folder / _STATE, signer.key)

    @property
    def key(self) -> VerifierKey:
        return self._signer.key

    def add_checkpoint(self, data: bytes) -> Note:
        """The checkpoint of a request, cosigned: the last signature is the witness's. Raises
        `Refusal`, and `Unavailable` if the disk does not take it: then nothing is cosigned."""
        submission = Submission.parse(data)
        origin = submission.origin
        with self._one_at_a_time:
            note = cosigned(
                submission,
                last=self._last.get(origin),
                logs=[key for key in self._logs if key.name == origin],
                witness=self._signer,
                at=int(self._clock()),
            )
            last = {**self._last, origin: note}
            _write(self._folder, last)
            self._last = last
        return note

    def checkpoint(self, origin_sha256: str) -> Note | None:
        """The last one cosigned for the log whose origin has this digest (hex)."""
        for origin, note in self._last.items():
            if hashlib.sha256(origin.encode()).hexdigest() == origin_sha256:
                return note
        return None


@contextmanager
def open_witness(folder: Path, logs: Sequence[VerifierKey], name: str = "") -> Iterator[Witness]:
    """The witness of ``folder``, which no other process has meanwhile. The first time, a key with
    that ``name`` is made; empty, this machine's, or later the one that the key has.

    Raises `Misconfigured` for keys that are no log's, and if another process has the folder;
    `BrokenRecord` if the state is damaged or gone.
    """
    for key in logs:
        if key.type is not KeyType.LOG:
            raise Misconfigured(
                f"The key of {key.name} is that of a witness: --log takes keys of logs."
            )
    signer = witness_signer(folder, name)
    with _alone(folder):
        _tidy(folder)
        yield Witness(folder, signer, logs)


def witness_signer(folder: Path, name: str = "") -> Signer:
    """The key in ``folder``, made there if it is empty. Raises as `open_witness`."""
    try:
        private_folder(folder, named_by="--home")
        _begin(folder, name or f"{socket.gethostname()}/witness")
    except OSError as error:
        raise Misconfigured(
            f"The folder {folder} of the witness cannot be used: {error.strerror or error}.",
            hint="Name one that this user may write to: --home.",
        ) from error
    signer = read_key(folder / _KEY)
    if name and name != signer.name:
        raise Misconfigured(
            f"The witness in {folder} is named {signer.name}, not {name}.",
            hint="Leave --name away, or name another folder: --home.",
        )
    return signer


def _begin(folder: Path, name: str) -> None:
    key, state = folder / _KEY, folder / _STATE
    if not key.exists():
        if state.exists() and state.read_bytes() != _NONE_YET:
            raise BrokenRecord(f"The key of the witness in {folder} is gone.", hint=_HINT)
        # The state first: where there is a key, a state that is missing was taken away.
        write_private_once(state, _NONE_YET)
        sync(folder)
        make_key(key, name)
        sync(folder)
        sync(folder.parent)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _take(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Misconfigured(
            f"Another process is the witness of {folder}.",
            hint="One is enough: end the other one, or name another folder: --home.",
        ) from error


def _read(path: Path, key: VerifierKey) -> Mapping[str, Note]:
    try:
        found = json.loads(path.read_bytes())
        return {origin: _note(origin, text, key) for origin, text in found.items()}
    except FileNotFoundError as error:
        raise BrokenRecord(f"{path}, the witness's state, is gone.", hint=_HINT) from error
    except (OSError, ValueError, AttributeError, LoopError) as error:
        raise BrokenRecord(
            f"{path}, the witness's state, is damaged: {error}", hint=_HINT
        ) from error


def _note(origin: str, text: str, key: VerifierKey) -> Note:
    note = Note.parse(text.encode())
    if Checkpoint.parse(note.text).origin != origin:
        raise BrokenRecord(f"the checkpoint of {origin} is that of another log.")
    if note.cosigned_at(key) is None:
        raise BrokenRecord(f"{key.name} has not cosigned the checkpoint of {origin}.")
    return note


def _write(folder: Path, last: Mapping[str, Note]) -> None:
    text = json.dumps({origin: str(note) for origin, note in last.items()}, indent=1)
    try:
        write_private(folder / _STATE, f"{text}\n".encode())
        sync(folder)
    except OSError as error:
        with suppress(OSError):
            _tidy(folder)
        raise Unavailable(
            f"The state in {folder} cannot be written: {error.strerror or error}.",
            hint="Free some space, or see to it that this user may write there. Nothing was "
            "cosigned.",
        ) from error


def _tidy(folder: Path) -> None:
    """Drafts of a crash, or of a disk that was full."""
    for name in (_KEY, _STATE):
        for draft in folder.glob(f".{name}.*"):
            draft.unlink(missing_ok=True)

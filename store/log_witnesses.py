"""The witnesses that an audit log is told to ask, and what they know of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from loop.checkpoints import Checkpoint
from loop.errors import BrokenRecord, LoopError, NotFound
from loop.signed_notes import Note, VerifierKey
from store.log_files import LogFiles
from store.log_reading import LogReader
from store.log_verify import check_continues
from store.witness_client import WitnessClient, cosigned

# After one did not cosign; else who waits for the log would wait for it again and again.
_REST_SECONDS = 30.0


class HasCheckpoint(Protocol):
    """A log whose newest checkpoint can be signed by others."""

    files: LogFiles

    def replace_checkpoint(self, note: Note) -> bool:
        """Publish ``note`` if it is the newest one with more signatures; whether it was."""


class LogWitnesses:
    def __init__(self, clients: Sequence[WitnessClient]) -> None:
        self._clients = tuple(clients)
        self._rests_until = 0.0

    def cosign(self, log: HasCheckpoint) -> dict[str, LoopError]:
        """Have the newest checkpoint signed by those that have not, and publish it so. Why some did
        not, by name; nothing while they are left alone for a while after that."""
        note = log.files.checkpoint()
        if note is None or time.monotonic() < self._rests_until:
            return {}
        missing = [each for each in self._clients if note.cosigned_at(each.key) is None]
        signed, refusals = cosigned(note, missing, log.files)
        if len(signed.signatures) > len(note.signatures):
            log.replace_checkpoint(signed)
        if refusals:
            self._rests_until = time.monotonic() + _REST_SECONDS
        return refusals

    def sizes(self, note: Note) -> dict[str, int]:
        """How many entries each has cosigned, by name: what ``note``, the newest checkpoint, shows,
        and what this process saw. Nobody is asked."""
        size = Checkpoint.parse(note.text).size
        return {
            each.key.name: size if note.cosigned_at(each.key) is not None else each.seen
            for each in self._clients
        }

    def latest(self, origin: str) -> dict[str, Note]:
        """What each witness cosigned last of the log of that name, by its own name; without those
        that cosigned nothing yet.

        Raises `Unavailable` if one cannot be asked, `BrokenRecord` if what it gives is not signed
        by it.
        """
        found: dict[str, Note] = {}
        for client in self._clients:
            with suppress(NotFound):
                note = client.latest(origin)
                if note.cosigned_at(client.key) is None:
                    raise BrokenRecord(
                        f"What {client.key.name} gives out as its last checkpoint it has not "
                        "signed.",
                        hint="Compare its key: secondlook audit witness --print-key, where it "
                        "runs.",
                    )
                found[client.key.name] = note
        return found


def check_seen(
    seen: Mapping[str, Note], files: LogReader, size: int, key: VerifierKey
) -> dict[str, int]:
    """That the log of ``size`` entries goes on from each of the checkpoints ``seen``; the sizes of
    these. Raises `BrokenRecord` if it was set back or forked."""
    for note in seen.values():
        check_continues(files, size, note, key)
    return {name: Checkpoint.parse(note.text).size for name, note in seen.items()}

"""A log of many events, written by its files alone."""

from __future__ import annotations

from itertools import pairwise

from loop.checkpoints import Checkpoint
from loop.events import Event
from loop.signed_notes import Note
from loop.tiles import WIDTH
from store.audit_log import AuditLog


def write(log: AuditLog, count: int, one: Event) -> None:
    """A log of so many events like ``one``. They differ in its id, wherever that stands in them: a
    million of them are not made one by one."""
    signer, root = log.key.signer(), b""
    step = 100 * WIDTH
    parts = one.canonical().split(one.id.encode())
    for first, end in pairwise([*range(0, count, step), count]):
        made = [f"{number:032x}".encode().join(parts) for number in range(first, end)]
        root = log.files.append(first, made)
    text = Checkpoint(signer.name, count, root).text()
    log.files.publish(Note(text, (signer.sign(text),)))

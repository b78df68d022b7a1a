"""The audit log: a transparency log in files (`store.log_files`) behind an outbox in the database.

A change of state and its events are one transaction, which puts the events into the outbox. One
process at a time (`store.log_lease`) moves them on: into the log's files, which are on the disk
before the database counts them, and it before a signed checkpoint does. So a crash anywhere leaves
a log that verifies, and loses no event. The database keeps a copy of the entries, for looking
things up (`store.audit_rows`); what counts are the files.

What this cannot show by itself: that whoever holds the log's key wrote it anew, or set it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from loop.checkpoints import Checkpoint, Proof
from loop.errors import BrokenRecord, LoopError, Misconfigured, NotFound, Unavailable
from loop.event_query import EventQuery
from loop.events import Actor, Authentication, Event, Outcome, Role
from loop.merkle import leaf_hash
from loop.signed_notes import Note, Signer, VerifierKey
from store.audit_rows import AuditRows, Head, State, Waiting
from store.database import migrate, open_engine
from store.log_elsewhere import LogElsewhere
from store.log_files import LogFiles, told
from store.log_key import LogKey, elsewhere_key_path, open_log_key
from store.log_lease import lease
from store.log_mirror import LogMirror
from store.log_reading import LogReader
from store.log_role import LogRole
from store.log_timestamps import LogTimestamps
from store.log_verify import PURGED, Progress, Verified, purged_end, verify_files
from store.log_witnesses import LogWitnesses, check_seen
from store.objects import Objects, open_objects
from store.settings import Settings
from store.tsa_client import TsaClient
from store.witness_client import WitnessClient

# Keeps a transaction short when many events have piled up.
_BATCH = 1000
# How long what was committed may take to get into the log, if another process puts it there.
_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.02
HINT = (
    "Keep the database and the log's folder as they are, find out who can write to them, and "
    "compare them with a backup, and with checkpoints that a witness or MLflow's runs hold."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in its place; ``data`` is its canonical JSON, as it stands in the log."""

    index: int
    event: Event
    data: bytes

    @property
    def leaf_sha256(self) -> str:
        return leaf_hash(self.data).hex()


@dataclass(frozen=True, slots=True)
class LogBucket:
    """Where the log is copied to, and read by processes that do not have it. ``key`` is the log's
    public one, if it is known beforehand; else the first that is found is kept in ``pin``."""

    objects: Objects | None
    pin: Path
    key: VerifierKey | None = None


class AuditLog:
    """Whoever reads finds all that was committed before. What reads raises `Unavailable` if it does
    not get into the log."""

    def __init__(
        self,
        engine: Engine,
        files: LogFiles,
        key: LogKey,
        witnesses: Sequence[WitnessClient] = (),
        timestamps: LogTimestamps | None = None,
        *,
        role: LogRole = LogRole.AUTO,
        bucket: LogBucket | None = None,
    ) -> None:
        self.role = role
        self.files = files
        self.witnesses = LogWitnesses(witnesses)
        self.timestamps = timestamps or LogTimestamps(files)
        self.key = key
        self.rows = AuditRows(engine)
        self._engine = engine
        self._refused: set[str] = set()  # witnesses whose refusal is on record
        self._lock = files.folder.with_name(f"{files.folder.name}.lock")
        self._known = bucket.key if bucket else None
        self._elsewhere: LogElsewhere | None = None
        self.mirror: LogMirror | None = None
        if bucket and bucket.objects:
            self._elsewhere = LogElsewhere(bucket.objects, bucket.pin, bucket.key, self._begun_with)
            self.mirror = LogMirror(files, bucket.objects, self.public_key, self.purged)

    def integrate(self) -> int:
        """Move what waits in the outbox into the log; returns how many events.

        Raises `Unavailable` if the log cannot be written, and `BrokenRecord` rather than add to a
        log that was changed. Either is told to all who act from then on: `failure`.
        """
        if not self.is_behind():
            return 0
        if not self.is_here():
            self._wait_for_others()
            return 0
        try:
            with lease(self._engine, self._lock, _WAIT_SECONDS), told(self.files.folder):
                if self.is_here():  # and still nobody else has begun it
                    return self._integrate(self._signer())
        except LoopError as error:
            self.rows.say(error.message)
            raise
        self._wait_for_others()
        return 0

    def cosign(self) -> dict[str, LoopError]:
        """Have the witnesses sign the newest checkpoint; why some did not, by name. One that says
        that the log is not the one it saw is put on record. Only who has the log asks. Raises
        `Unavailable`."""
        if not self.is_here():
            return {}
        refusals = self.witnesses.cosign(self)
        for name, refusal in refusals.items():
            if isinstance(refusal, BrokenRecord) and name not in self._refused:
                self._refused.add(name)  # the event makes the log grow, and it is refused again
                self.rows.put(_refused_event(name, refusal, self.rows.state().head))
        return refusals

    def replace_checkpoint(self, note: Note) -> bool:
        """Publish the newest checkpoint with more signatures; not if there is a newer one."""
        with lease(self._engine, self._lock, _WAIT_SECONDS), told(self.files.folder):
            newest = self.files.checkpoint()
            if newest is None or newest.text != note.text:
                return False
            self.files.publish(newest.with_signatures(note.signatures))
            return True

    def is_behind(self) -> bool:
        """Whether there is something to integrate, or a failure to be tried again."""
        if self.rows.is_waiting():
            return True
        state = self.rows.state()
        return self.is_here() and (bool(state.failure) or self._published() < state.head.size)

    def is_here(self) -> bool:
        """Whether this process has the log's files: by its role, or else if they are there, or
        there are none anywhere yet."""
        if self.role is not LogRole.AUTO:
            return self.role is LogRole.HERE
        return self.files.is_there() or self._size() == 0

    def reader(self) -> LogReader:
        """Where the log's files are read: here, or in the bucket. Raises `Misconfigured`."""
        return self.files if self.is_here() else self._far().files

    def public_key(self) -> VerifierKey:
        """The log's; whoever has the log makes it on first use. Raises `Misconfigured`,
        `Unavailable`, and `BrokenRecord` if it is not the one that is known here."""
        if not self.is_here():
            return self._far().key()
        key = self._signer().key
        if self._known is not None and str(self._known) != str(key):
            raise BrokenRecord(
                f"The log here has the key {key}, and SECONDLOOK_AUDIT_KEY is {self._known}.",
                hint="Correct SECONDLOOK_AUDIT_KEY, or restore keys/log.key from a backup.",
            )
        return key

    def copy_lacks(self) -> int | None:
        """How many entries the bucket does not have yet; None without a bucket. Raises
        `BrokenRecord`, `Unavailable`, `Misconfigured`."""
        if self.mirror is None or self._elsewhere is None:
            return None
        return self.mirror.lacks() if self.is_here() else self._elsewhere.lacks(self._size())

    def check_room(self) -> None:
        """Raises `Unavailable` if it can be seen without trying that nothing can be written."""
        if self.role is not LogRole.ELSEWHERE and self.files.is_there():
            self.files.check_room()

    def check_here(self) -> None:
        """Raises `Misconfigured` where this process does not have the log's files, to change."""
        if not self.is_here():
            raise Misconfigured(
                f"The audit log's files are not in {self.files.folder}.",
                hint="Do this where they are: in the home of the process with "
                "SECONDLOOK_AUDIT_LOG=here.",
            )

    def failure(self) -> str:
        """Why the log could not be written when that was last tried; empty if it could."""
        return self.rows.state().failure

    def head(self) -> Head:
        self.integrate()
        return self.rows.state().head

    def checkpoint(self) -> Note:
        """The newest, signed. Raises `NotFound` before the first entry."""
        self.integrate()
        if not self.is_here() and (size := self._size()):
            return self._far().covering(size)
        note = self.files.checkpoint() if self.is_here() else None
        if note is None:
            raise NotFound("The audit log is empty: it has no checkpoint yet.")
        return note

    def tail(self, count: int) -> list[Entry]:
        """The last ``count`` entries, oldest first."""
        return self.find(EventQuery(), limit=count)

    def find(self, query: EventQuery, *, limit: int, before: int | None = None) -> list[Entry]:
        """The last ``limit`` entries that ``query`` is about, oldest first; only those with an
        index below ``before``, to go further back."""
        self.integrate()
        return [_entry(*row) for row in self.rows.find(query, limit, before)]

    def get(self, which: int | str) -> Entry:
        """By index or event id. Raises `NotFound`."""
        self.integrate()
        row = self.rows.get(which)
        if row is None:
            raise NotFound(
                f"There is no event {which} in the log.",
                hint="secondlook audit tail shows the latest.",
            )
        return _entry(*row)

    def prove(self, index: int) -> Proof:
        """That entry ``index`` is in the log, up to the newest checkpoint. Raises `NotFound`."""
        self.integrate()
        if self.is_here():
            return self.files.prove(index)
        size = self._size()
        if not 0 <= index < size:
            raise NotFound(f"There is no entry {index} in the log: it has {size}.")
        row = self.rows.get(index)
        return self._far().prove(index, row[1] if row else None)

    def verify(
        self,
        key: VerifierKey | None = None,
        witnesses: Sequence[VerifierKey] = (),
        progress: Progress | None = None,
    ) -> Verified:
        """Check all of it: the files, and that the database's copy is the same. ``key`` is the
        log's public one, else the one that lies here. Each of ``witnesses`` must have signed; those
        of the settings are asked what they have signed last. Timestamps that lie there are checked
        if the settings name roots. Events may be added meanwhile.

        Raises `BrokenRecord` for the first entry that is wrong, and says what is.
        """
        self.integrate()
        state = self.rows.state()
        files = self._files_to_check(state)
        if files is None or (state.head.size == 0 and files.checkpoint() is None):
            self._check_copy(0, files)
            return Verified(0, state.head.root)
        key = key or self.public_key()
        # Before the checkpoint is read, which may be newer than these but is not older.
        stamps, seen = files.timestamps(), self.witnesses.latest(key.name)
        verified = verify_files(files, key, witnesses, progress)
        if verified.size < state.head.size:
            raise BrokenRecord(
                f"Entry {verified.size} is missing: the checkpoint ends before it, but the "
                f"database counts {state.head.size} entries.",
                hint=HINT,
            )
        self._check_copy(verified.size, files)
        stamped = self.timestamps.check(stamps, verified.size, key, files)
        sizes = check_seen(seen, files, verified.size, key)
        return replace(verified, seen=sizes, stamped=stamped)

    def reindex(self, progress: Progress | None = None) -> Verified:
        """Make the database's copy anew from the log's files, which are verified first: after one
        of them was restored from a backup, or the copy was changed. What waits in the outbox and
        is in the files already goes; the rest stays.

        Raises `BrokenRecord` if the files are not in order, `NotFound` if there are none.
        """
        if self.role is LogRole.ELSEWHERE:
            self.check_here()
        with lease(self._engine, self._lock, _WAIT_SECONDS), told(self.files.folder):
            if self.files.checkpoint() is None:
                raise NotFound(f"There is no log in {self.files.folder}.")
            key = self.key.signer().key
            verified = verify_files(self.files, key, progress=progress)
            before = self.rows.state().head.size
            head = Head(verified.size, verified.root)
            first = self.files.first_entry(verified.size)
            entries = self.files.entries(verified.size, since=first)
            found = self.rows.rebuild(head, str(key), entries, first)
        actor = Actor("audit-log", Role.SYSTEM, Authentication.PROCESS)
        subject = {"tree_size": head.size, "root_sha256": head.root}
        details = {"entries_before": before, "found_in_outbox": found}
        self.rows.put(Event("log.reindexed", actor, subject, details))
        self.integrate()
        return verified

    def purged(self, size: int | None = None) -> int:
        """Before which number entries may be gone, past their retention; by what the first ``size``
        entries say."""
        found = self.rows.find(EventQuery(types=(PURGED,)), 1, size)
        return purged_end(_entry(*found[0]).event) if found else 0

    def _files_to_check(self, state: State) -> LogReader | None:
        """None where the log is elsewhere, and has nothing yet."""
        if self.is_here():
            return self.files
        if state.head.size == 0:
            return None
        self._far().covering(state.head.size)
        return self._far().files.fresh()

    def _check_copy(self, size: int, files: LogReader | None) -> None:
        first = 0
        entries: Iterator[bytes] = iter(())
        if files is not None and size:
            # Rows go before their files do: where rows of what is purged are left, so are these.
            row = next(self.rows.all(), None)
            first = row[0] if row and row[0] in (self.purged(), files.first_entry(size)) else 0
            entries = files.entries(size, since=first)
        index = first - 1
        for index, (found, data) in enumerate(self.rows.all(), first):
            if found != index:
                raise BrokenRecord(
                    f"Entry {index} is missing or moved in the database: entry {found} stands in "
                    "its place.",
                    hint=HINT,
                )
            if index < size and data != next(entries):
                raise BrokenRecord(
                    f"Entry {index} was changed in the database: the log's files have another one.",
                    hint=HINT,
                )
        counted = self._size()
        if index + 1 < size:
            raise BrokenRecord(
                f"Entry {index + 1} is missing in the database: the log's files have {size}.",
                hint=HINT,
            )
        if index + 1 > counted:
            raise BrokenRecord(
                f"Entry {counted} was added in the database: its head counts {counted}.", hint=HINT
            )

    def _begun_with(self) -> str:
        return self.rows.state().key

    def _far(self) -> LogElsewhere:
        if self._elsewhere is None:
            raise Misconfigured(
                f"The audit log's files are not in {self.files.folder}, and there is no copy of "
                "them.",
                hint="Set SECONDLOOK_STORAGE_URL to the bucket to which the process with the log "
                "copies them, there and here; or do this where they are.",
            )
        return self._elsewhere

    def _signer(self) -> Signer:
        state = self.rows.state()
        if state.key and self.key.public() is None:
            raise Misconfigured(
                f"The audit log was begun with the key {state.key}, and there is none here.",
                hint="Restore keys/log.key from a backup. Where another process has the log, set "
                "SECONDLOOK_AUDIT_LOG=elsewhere.",
            )
        return self.key.signer()

    def _integrate(self, signer: Signer) -> int:
        head = self._mended(signer)
        moved, last = 0, self.rows.last_waiting() or 0
        # Not what comes meanwhile: where events come as fast as they are moved, it would keep the
        # lease for good, and who waits for it would take the log for failing.
        while (waiting := self.rows.waiting(_BATCH)) and waiting[0][0] <= last:
            head = self._append(signer, head, waiting)
            moved += len(waiting)
        self.rows.say("")
        return moved

    def _mended(self, signer: Signer) -> Head:
        """The head, once the files are known to be what it counts; what a crash kept from being
        published is."""
        state = self.rows.state()
        head = state.head
        if state.key and state.key != str(signer.key):
            raise Misconfigured(
                f"The audit log was begun with the key {state.key}, and the one here is "
                f"{signer.key}.",
                hint="Restore keys/log.key from a backup.",
            )
        if head.size and not self.files.is_there():
            raise BrokenRecord(
                f"The database counts {head.size} entries, and there is no log in "
                f"{self.files.folder}.",
                hint="Restore that folder from a backup. Where another process has the log, set "
                "SECONDLOOK_AUDIT_LOG=elsewhere.",
            )
        published = self._published()
        if published > head.size:
            raise BrokenRecord(
                f"The log's files count {published} entries, and the database {head.size}: one of "
                "them was set back, or is of another home.",
                hint=HINT,
            )
        if head.size:
            self._check_end(head)
        if head.size and (state.failure or published < head.size):
            self._publish(signer, head)
        return head

    def _check_end(self, head: Head) -> None:
        """What must not be built upon: files that do not add up to what the database knows."""
        root = self.files.checked_root(head.size)
        if root.hex() != head.root:
            raise BrokenRecord(
                f"The log's files add up to {root.hex():.12}…, and the {head.size} entries that "
                f"the database counts to {head.root:.12}…: nothing is added to it.",
                hint=HINT,
            )

    def _append(self, signer: Signer, head: Head, waiting: Sequence[Waiting]) -> Head:
        events = [_checked(f"The event in row {row} of the outbox", text) for row, text in waiting]
        root = self.files.append(head.size, [text.encode() for _, text in waiting])
        grown = Head(head.size + len(waiting), root.hex())
        self.rows.add(head, grown, str(signer.key), waiting, events)
        self._publish(signer, grown)
        with suppress(OSError):  # what is left lying there does no harm
            self.files.tidy(grown.size, head.size)
        return grown

    def _publish(self, signer: Signer, head: Head) -> None:
        text = Checkpoint(signer.name, head.size, bytes.fromhex(head.root)).text()
        self.files.publish(Note(text, (signer.sign(text),)))

    def _published(self) -> int:
        note = self.files.checkpoint()
        return Checkpoint.parse(note.text).size if note else 0

    def _size(self) -> int:
        return self.rows.state().head.size

    def _wait_for_others(self) -> None:
        last = self.rows.last_waiting()
        deadline = time.monotonic() + _WAIT_SECONDS
        while last is not None and self.rows.is_waiting(up_to=last):
            if time.monotonic() > deadline:
                why = f"Its files are not in {self.files.folder}, and nobody else adds to it."
                # Who never has the files stops nobody: what it did waits in the outbox, which is
                # where it would be anyway while whoever has them starts anew.
                if self.role is LogRole.AUTO:
                    self.rows.say(why)
                raise Unavailable(
                    f"The audit log stands still. {why}",
                    hint="Start Second Look where the log's files are, or restore them.",
                )
            time.sleep(_LOOK_SECONDS)


def open_audit_log(settings: Settings, engine: Engine | None = None) -> AuditLog:
    if engine is None:
        engine = open_engine(settings.database)
        migrate(engine)
    files, key = LogFiles(settings.home / "log"), open_log_key(settings)
    witnesses = [WitnessClient(each.url, each.key) for each in settings.audit_witnesses]
    stamps = _timestamps(settings, files)
    role, bucket = settings.audit_log, _bucket(settings)
    return AuditLog(engine, files, key, witnesses, stamps, role=role, bucket=bucket)


def index_or_id(text: str) -> int | str:
    """What `AuditLog.get` takes, as people type it."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else text


def _bucket(settings: Settings) -> LogBucket:
    known = settings.audit_key
    return LogBucket(
        open_objects(settings),
        elsewhere_key_path(settings.home),
        VerifierKey.parse(known) if known else None,
    )


def _timestamps(settings: Settings, files: LogFiles) -> LogTimestamps:
    url, roots = settings.audit_tsa_url, settings.audit_tsa_roots
    client = TsaClient(url, roots) if url else None
    return LogTimestamps(files, client, roots, timedelta(hours=settings.audit_tsa_hours))


def _refused_event(witness: str, refusal: BrokenRecord, head: Head) -> Event:
    return Event(
        "witness.refused",
        Actor("audit-log", Role.SYSTEM, Authentication.PROCESS),
        {"tree_size": head.size, "root_sha256": head.root},
        {"witness": witness},
        Outcome.REFUSED,
        refusal.message,
    )


def _entry(index: int, data: bytes) -> Entry:
    return Entry(index, Event.from_canonical(data), data)


def _checked(what: str, text: str) -> Event:
    try:
        event = Event.from_canonical(text.encode())
        canonical = event.canonical()
    except LoopError as error:
        raise BrokenRecord(f"{what} is no event: {error.message}", hint=HINT) from error
    if canonical != text.encode():
        raise BrokenRecord(f"{what} is not in canonical form.", hint=HINT)
    return event

"""What the auditor's page works with, and the checks that it runs."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from loop.checkpoints import Checkpoint, Proof
from loop.errors import Conflict, InvalidInput, LoopError
from loop.events import Actor
from loop.ports import UnitsOfWork
from loop.signed_notes import Note, VerifierKey
from store.audit_log import AuditLog, Entry
from store.audit_tracing import AuditTracing
from store.log_checks import check_log, check_run, check_version
from store.log_verify import Stamped, Verified, check_signatures
from store.model_registry import ModelRegistry
from store.run_proofs import Proved
from store.tracking import Tracking
from ui.audit_view import cosigned_at, utc

_REPORTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Auditing:
    """``witnesses`` are the keys of those that the log asks."""

    tracing: AuditTracing
    units: UnitsOfWork
    tracking: Tracking
    registry: ModelRegistry
    witnesses: tuple[VerifierKey, ...] = ()
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def log(self) -> AuditLog:
        return self.tracing.log

    def key(self) -> VerifierKey:
        return self.log.public_key()

    def state(self) -> dict[str, Any]:
        """The newest checkpoint, the key, and what the witnesses have signed of it."""
        head, note = self.log.head(), self.log.reader().checkpoint()
        return {
            "size": head.size,
            "root": head.root,
            "key": str(self.key()),
            "failure": self.log.failure(),
            "witnesses": self._signed(note) if note else [],
        }

    def prove(self, entry: Entry) -> Proof:
        return self.log.prove(entry.index)

    def check_entry(self, entry: Entry) -> dict[str, Any]:
        """A proof made and checked here. Raises `BrokenRecord` where it does not hold."""
        proof, key = Proof.parse(str(self.prove(entry)).encode()), self.key()
        check_signatures(proof.checkpoint, key)
        checkpoint = proof.check(entry.data)
        return {
            "index": entry.index,
            "hashes": len(proof.hashes),
            **_of_checkpoint(checkpoint),
            "witnesses": self._signed(proof.checkpoint),
        }

    def check_all(self, actor: Actor) -> Iterator[bytes]:
        """The whole log, as JSON lines: how far it is, and what came out. It goes on, and is put on
        record, when nobody listens any more. Raises `Conflict` while it is already being done."""
        if not self._busy.acquire(blocking=False):
            raise Conflict(
                "The log is being verified already.", hint="Try again when that has ended."
            )
        told: queue.Queue[dict[str, Any]] = queue.Queue(_REPORTS_KEPT)
        threading.Thread(target=self._check_all, args=(actor, told), daemon=True).start()
        return _lines(told)

    def check_run(self, run_id: str, actor: Actor) -> dict[str, Any]:
        """Raises `BrokenRecord`, `NotFound`."""
        proved = check_run(self.tracking, run_id, self.key(), self.units, actor)
        return _of_proved(f"Run {run_id}", proved)

    def check_model(self, model: str, actor: Actor) -> dict[str, Any]:
        """``model`` is a version or alias, with or without the name before it. Raises
        `BrokenRecord`, `NotFound`, `InvalidInput` for another model than this home's."""
        name, slash, version = model.replace(" ", "/").rpartition("/")
        if slash and name != self.registry.name:
            raise InvalidInput(
                f"{name} is not the model of this home.",
                hint=f"Give a version of {self.registry.name}, or an alias such as champion.",
            )
        ref = self.registry.resolve(version)
        key = self.key()
        proved = check_version(self.tracking, self.registry, ref, key, self.units, actor)
        return _of_proved(f"{ref.name} {ref.version}", proved)

    def _check_all(self, actor: Actor, told: queue.Queue[dict[str, Any]]) -> None:
        def say(report: dict[str, Any]) -> None:
            try:
                told.put_nowait(report)
            except queue.Full:  # nobody listens
                told.get()
                told.put_nowait(report)

        def step(done: int, total: int) -> None:
            say({"done": done, "total": total})

        try:
            witnessed = bool(self.witnesses)
            verified = check_log(self.log, self.units, actor, progress=step, witnessed=witnessed)
            say({"verified": self._of_verified(verified)})
        except LoopError as error:
            say({"error": error.as_dict()})
        except BaseException as error:
            say({"error": {"message": f"{type(error).__name__}: {error}", "hint": ""}})
            raise
        finally:
            self._busy.release()

    def _of_verified(self, verified: Verified) -> dict[str, Any]:
        return {
            "size": verified.size,
            "root": verified.root,
            "purged": verified.purged,
            "seen": verified.seen,
            "stamped": _stamped(verified.stamped),
            "witnesses": self._signed(verified.note) if verified.note else [],
        }

    def _signed(self, note: Note) -> list[dict[str, str]]:
        return [
            {"name": witness.name, "at": cosigned_at(note, witness)} for witness in self.witnesses
        ]


def _stamped(stamped: Stamped) -> dict[str, Any] | None:
    if stamped.at is None:
        return None
    return {"size": stamped.size, "at": utc(stamped.at.isoformat())}


def _lines(told: queue.Queue[dict[str, Any]]) -> Iterator[bytes]:
    while True:
        report = told.get()
        yield json.dumps(report).encode() + b"\n"
        if "done" not in report:
            return


def _of_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _of_proved(what: str, proved: Proved) -> dict[str, Any]:
    event = proved.event
    return {
        "what": what,
        "index": proved.index,
        "type": event.type,
        "at": utc(event.at),
        "actor": event.actor.pseudonym,
        **_of_checkpoint(proved.checkpoint),
    }

"""What ties MLflow's runs and model versions to the audit log, and the check of it.

A run carries the event with which it ended, and a proof that this is in the log, as artifacts:
whoever has these and the log's public key needs neither the log nor the database. What MLflow says
of the run elsewhere (tags, params, metrics, the files of a model) is compared with the event.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from loop.checkpoints import Checkpoint, Proof
from loop.errors import BrokenRecord, LoopError, NotFound
from loop.events import Event, Outcome, canonical_json
from loop.predictions import ModelRef
from loop.signed_notes import Note, VerifierKey
from store.audit_log import AuditLog, open_audit_log
from store.log_verify import check_signatures
from store.model_registry import SHA256_TAG, ModelRegistry
from store.settings import Settings
from store.tracking import RunInfo, Tracking, open_tracking

EVENT, PROOF = "audit/event.json", "audit/proof.tlog-proof"
LEAF_TAG, CHECKPOINT_TAG = "audit.leaf_index", "audit.checkpoint_sha256"
DATASET_TAG = "audit.dataset_root"
REGISTERED = "model.registered"
# What an event's input is called as a tag of the run.
_TAGS = {
    "snapshot": "loop.snapshot_sha256",
    "folds": "loop.folds_sha256",
    "split": "loop.split_sha256",
    "base_weights": "loop.base_weights_sha256",
    "dataset_root": DATASET_TAG,
}
# MLflow's databases keep 8 bytes of a number, its text forms may not.
_PRECISION = 1e-9


# Gives a version the proof of the event, by its id, with which it was registered.
ProveVersion = Callable[[ModelRef, str], None]


@dataclass(frozen=True, slots=True)
class Proved:
    """``event`` is entry ``index`` of the log under ``checkpoint``; ``cosigned`` says when each
    witness that was asked for signed that, in seconds since 1970."""

    event: Event
    index: int
    checkpoint: Checkpoint
    cosigned: Mapping[str, int]


class RunProofs:
    def __init__(self, tracking: Tracking, log: AuditLog) -> None:
        self._tracking = tracking
        self._log = log

    def attach_to_run(self, run_id: str, event_id: str) -> None:
        """Give a run the event with which it ended, and the proof of it."""
        self._tracking.set_tags(run_id, self._upload(run_id, event_id, EVENT, PROOF))

    def attach_to_version(self, registry: ModelRegistry, ref: ModelRef, event_id: str) -> None:
        """Give a model version the event with which it was registered, and the proof of it, among
        the artifacts of its run."""
        tags = self._upload(registry.run_of(ref), event_id, *paths_of(ref))
        registry.set_tags(ref, tags)

    def _upload(self, run_id: str, event_id: str, event: str, proof: str) -> dict[str, str]:
        entry = self._log.get(event_id)
        with suppress(LoopError):  # a proof without a witness's signature is one, too
            self._log.cosign()
        found = self._log.prove(entry.index)
        self._tracking.log_text(run_id, entry.data.decode(), event)
        self._tracking.log_text(run_id, str(found), proof)
        return {
            LEAF_TAG: str(entry.index),
            CHECKPOINT_TAG: checkpoint_sha256(found.checkpoint),
        }


def version_prover(settings: Settings, registry: ModelRegistry) -> ProveVersion:
    proofs = RunProofs(open_tracking(settings), open_audit_log(settings))
    return lambda ref, event_id: proofs.attach_to_version(registry, ref, event_id)


def paths_of(ref: ModelRef) -> tuple[str, str]:
    """Where among its run's artifacts a model version's event and proof are."""
    folder = f"audit/models/{ref.version}"
    return f"{folder}/event.json", f"{folder}/proof.tlog-proof"


def checkpoint_sha256(note: Note) -> str:
    """Of what is signed in a checkpoint: name, size and root, a line each."""
    return hashlib.sha256(note.text.encode()).hexdigest()


def params_sha256(params: Mapping[str, str]) -> str:
    """Of a run's params, as MLflow has them: text."""
    return hashlib.sha256(canonical_json(dict(params))).hexdigest()


def verify_run(
    tracking: Tracking, run_id: str, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> Proved:
    """Check a run by its artifacts and the log's public key. Raises `BrokenRecord` and says what is
    wrong; `NotFound` for a run that is not there, or has not ended."""
    run = tracking.run(run_id)
    proved = _proved(tracking, run_id, EVENT, PROOF, key, witnesses)
    what = f"Run {run_id}"
    _check_tags(what, run.tags, proved)
    event = proved.event
    if event.run_id != run_id:
        raise _wrong(what, f"its event is that of run {event.run_id}")
    fold = run.tags.get("loop.fold")
    if fold is not None and fold != str(event.fold):
        raise _wrong(what, f"it is tagged as fold {fold}, and its event is of fold {event.fold}")
    for name, tag in _TAGS.items():
        told, said = event.inputs.get(name), run.tags.get(tag)
        if told is not None and told != said:
            raise _wrong(what, f"its tag {tag} says {said}, and the event {told}")
    params = event.inputs.get("params")
    if params is not None and params != params_sha256(run.params):
        raise _wrong(what, "its params are not those with which it ended")
    _check_metrics(what, run, event)
    ended_well = run.status == "FINISHED"
    if ended_well != (event.outcome is Outcome.DONE):
        raise _wrong(what, f"MLflow calls it {run.status}, and the event {event.outcome}")
    return proved


def verify_version(
    tracking: Tracking,
    registry: ModelRegistry,
    version: str,
    key: VerifierKey,
    witnesses: Sequence[VerifierKey] = (),
) -> Proved:
    """Check a model version, its files among it, as `verify_run`."""
    ref = registry.resolve(version)
    what = f"{ref.name} {ref.version}"
    proved = _proved(tracking, registry.run_of(ref), *paths_of(ref), key, witnesses)
    tags = registry.tags_of(ref)
    _check_tags(what, tags, proved)
    event = proved.event
    if event.type != REGISTERED or event.subject.get("model") != ref.as_dict():
        raise _wrong(what, f"its event is not that of its registration: {event.type}")
    dataset = event.inputs.get("dataset_root")
    if dataset is not None and dataset != tags.get(DATASET_TAG):
        raise _wrong(what, f"its tag {DATASET_TAG} is not what the event says")
    weights, exports = registry.digests_of(ref)
    if weights != tags.get(SHA256_TAG) or weights != ref.digest:
        raise _wrong(what, f"its weights have the digest {weights}, and the event {ref.digest}")
    for format, digest in event.details["exports"].items():
        if exports.get(format) != digest:
            raise _wrong(what, f"its files for {format} have the digest {exports.get(format)}")
    return proved


def _proved(
    tracking: Tracking,
    run_id: str,
    event: str,
    proof: str,
    key: VerifierKey,
    witnesses: Sequence[VerifierKey],
) -> Proved:
    try:
        data = tracking.read_text(run_id, event).encode()
        found = Proof.parse(tracking.read_text(run_id, proof).encode())
    except NotFound as error:
        raise NotFound(
            f"Run {run_id} has no {event} and {proof} among its artifacts.",
            hint="A run gets them when it ends; one that was killed, by the next training.",
        ) from error
    cosigned = check_signatures(found.checkpoint, key, witnesses)
    checkpoint = found.check(data)
    return Proved(Event.from_canonical(data), found.index, checkpoint, cosigned)


def _check_tags(what: str, tags: Mapping[str, str], proved: Proved) -> None:
    signed = hashlib.sha256(proved.checkpoint.text().encode()).hexdigest()
    for tag, value in ((LEAF_TAG, str(proved.index)), (CHECKPOINT_TAG, signed)):
        if tags.get(tag) != value:
            raise _wrong(what, f"its tag {tag} says {tags.get(tag)}, and the proof {value}")


def _check_metrics(what: str, run: RunInfo, event: Event) -> None:
    # MLflow has those of each epoch under the same names, and of the model that was kept as best_….
    scores = event.details.get("metrics") or {}
    told: dict[str, Any] = {f"best_{name}": value for name, value in scores.items()}
    for kind in ("mean", "std"):
        values = event.details.get(kind) or {}
        told |= {f"{name}_{kind}": value for name, value in values.items()}
    for name, value in told.items():
        said = run.metrics.get(name)
        if said is None or value is None:
            continue
        if not math.isclose(said, value, rel_tol=_PRECISION, abs_tol=_PRECISION):
            raise _wrong(what, f"its metric {name} is {said}, and the event says {value}")


def _wrong(what: str, why: str) -> BrokenRecord:
    return BrokenRecord(
        f"{what} is not what the audit log has of it: {why}.",
        hint="Somebody changed it in MLflow, or restored an older state. The event is in the log.",
    )

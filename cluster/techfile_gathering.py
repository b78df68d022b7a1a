"""Gathers what is on record of a model, for its technical documentation."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from cluster.drift import drift_reference
from loop.checkpoints import Checkpoint
from loop.errors import InvalidInput, NotFound
from loop.event_query import EventQuery
from loop.events import now
from loop.ports import UnitOfWork
from loop.predictions import ModelRef
from loop.promotions import Promotion
from loop.reliability import reliability
from loop.snapshots import SnapshotRecord
from loop.techfile import Cited, Log
from loop.techfile_operator import FILE, Operator, read_answers
from loop.techfile_records import Doors, Oversight, Records, Run, SnapshotFacts, Version
from store.audit_log import AuditLog, open_audit_log
from store.model_registry import ModelRegistry, ModelVersion, open_model_registry
from store.settings import Settings
from store.snapshot_facts import snapshot_facts
from store.system_metrics import PREFIX
from store.tracking import RunInfo, Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from train.paths import StagePaths

Progress = Callable[[int, int], None]

_MOST = 1000
# What stands in the table of changes; how many came before is said.
_MOST_CHANGES = 300
_MOST_COUNTED = 100_000
_CHANGES = ("promotion", "model", "serving", "trial")
# The newest of each of these is cited as an example.
_EXAMPLES = (
    ("session.started",),
    ("session.refused", "account.locked"),
    ("api_key.created",),
    ("audit.verified",),
)
_ANSWERS = ("correction.submitted", "second_review.submitted", "annotation.imported")
_PACKAGES = (
    "second-look", "dvc", "gradio", "mlflow", "numpy", "onnxruntime", "openvino", "pyarrow", "ray",
    "sqlalchemy", "torch", "torchvision", "ultralytics",
)  # fmt: skip
_PEAKS = (
    "process_cpu_utilization_percentage",
    "process_memory_usage_megabytes",
    "gpu_0_utilization_percentage",
)
_SETTINGS = (
    "min_confidence", "nms_iou", "max_image_bytes", "max_image_pixels", "agreement_ciou",
    "high_confidence", "approvers", "host", "api_open_on_loopback", "password_sign_in",
    "oidc_issuer", "sign_in_attempts", "lockout_minutes", "session_idle_hours", "session_days",
    "audit_witnesses",
)  # fmt: skip


def resolve(settings: Settings, registry: ModelRegistry, which: str) -> ModelRef:
    """``NAME:VERSION``, ``NAME:ALIAS``, a name (its champion), a version or an alias. Raises
    `NotFound`."""
    name, colon, version = which.rpartition(":")
    if not colon:
        name, version = settings.model_name, which
        if which == settings.model_name:
            version = "champion"
    if name != settings.model_name:
        raise NotFound(
            f"There is no model {name!r} in this home, but {settings.model_name!r}.",
            hint="secondlook models list shows its versions and aliases.",
        )
    return registry.resolve(version)


def gather(
    settings: Settings,
    ref: ModelRef,
    operator: Operator,
    workspaces: Sequence[Path],
    step: Progress,
) -> Records:
    """The shards are looked for in ``workspaces``; without them the document has gaps."""
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    log = open_audit_log(settings)
    version = _version(registry, ref)
    run, folds = _runs(tracking, version.run_id, step)
    with open_units_of_work(settings)() as uow:
        snapshot = _snapshot(uow, version.tags.get("loop.snapshot_sha256", ""))
        promotion = uow.promotions.find(ref.name, ref.version)
        oversight = _oversight(uow)
        doors = _doors(settings, uow)
    drift, no_drift = _drift(settings, registry, ref)
    events, left_out = _events(log, version, promotion)
    return Records(
        version=version,
        made_at=now(),
        made_by=settings.actor,
        operator=operator,
        events=events,
        left_out=left_out,
        log=_log(log) if events else None,
        run=run,
        folds=folds,
        snapshot=snapshot,
        shards=_shards(snapshot, workspaces, step),
        promotion=promotion,
        oversight=oversight,
        doors=doors,
        software=_software(),
        drift=drift,
        no_drift=no_drift,
    )


def read_operator(path: Path | None) -> Operator:
    """Raises `InvalidInput` for what is no such file; without one nothing is answered."""
    if path is None:
        return Operator()
    try:
        data = path.read_bytes()
        answers = read_answers(yaml.safe_load(data))
    except OSError as error:
        raise NotFound(
            f"{path} cannot be read: {error.strerror}.", hint="secondlook techfile init makes one."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} is not YAML: {error}.", hint="Put the text behind a |, on lines of its own."
        ) from error
    return Operator(answers, hashlib.sha256(data).hexdigest(), path.name)


def find_operator_file(folders: Sequence[Path]) -> Path | None:
    return next((f / FILE for f in folders if (f / FILE).is_file()), None)


def _version(registry: ModelRegistry, ref: ModelRef) -> Version:
    found: ModelVersion = next(v for v in registry.versions() if v.ref == ref)
    signature = found.signature
    return Version(
        ref=ref,
        aliases=found.aliases,
        run_id=found.run_id,
        registered_at=found.created_at,
        classes=registry.classes_of(ref),
        tags=found.tags,
        exports=found.exports,
        signature=signature.sha256 if signature else "",
        key=signature.key if signature else "",
        trusted=bool(signature and registry.trusts(signature.key)),
    )


def _runs(tracking: Tracking, run_id: str, step: Progress) -> tuple[Run | None, list[Run]]:
    try:
        own = tracking.run(run_id)
        folds = [
            each for each in tracking.child_runs(run_id) if each.tags.get("loop.kind") == "fold"
        ]
    except NotFound:  # somebody deleted the run; the version stays
        return None, []
    found = []
    for done, each in enumerate(folds):
        step(done, len(folds))
        found.append(_run(each, _peaks(tracking, each)))
    step(len(folds), len(folds))
    return _run(own, {}), sorted(found, key=lambda run: (len(run.fold), run.fold))


def _run(info: RunInfo, peaks: dict[str, float]) -> Run:
    return Run(
        info.run_id,
        info.name,
        info.tags.get("loop.fold", ""),
        info.params,
        info.metrics,
        info.tags,
        info.started_at,
        info.ended_at,
        peaks,
    )


def _peaks(tracking: Tracking, info: RunInfo) -> dict[str, float]:
    names = [name for name in _PEAKS if PREFIX + name in info.metrics]
    return {
        name: max(p.value for p in tracking.metric_history(info.run_id, PREFIX + name))
        for name in names
    }


def _snapshot(uow: UnitOfWork, sha256: str) -> SnapshotRecord | None:
    try:
        return uow.snapshots.get(sha256) if sha256 else None
    except NotFound:  # the version was trained in another home
        return None


def _shards(
    snapshot: SnapshotRecord | None, workspaces: Sequence[Path], step: Progress
) -> SnapshotFacts | None:
    if snapshot is None:
        return None
    folder = StagePaths(snapshot.manifest.labels).snapshot
    for workspace in workspaces:
        found = snapshot_facts(workspace / folder, snapshot.sha256, step)
        if found is not None:
            return found
    return None


def _oversight(uow: UnitOfWork) -> Oversight:
    classes = uow.classes.find()
    readings = uow.statistics.double_readings()
    return Oversight(
        done=uow.statistics.done(),
        seconds=uow.statistics.active_seconds(),
        verdicts=uow.statistics.verdicts(),
        agreement=reliability(readings, classes) if classes and readings else (),
        read_twice=len(readings),
    )


def _doors(settings: Settings, uow: UnitOfWork) -> Doors:
    accounts = [account for account in uow.accounts.list() if not account.disabled]
    keys = [key for key, _ in uow.api_keys.list(revoked=False)]
    return Doors(
        roles=Counter(role.value for account in accounts for role in account.roles),
        scopes=Counter(scope.value for key in keys for scope in key.scopes),
        settings={
            f"SECONDLOOK_{name.upper()}": _told(getattr(settings, name)) for name in _SETTINGS
        },
    )


def _events(
    log: AuditLog, version: Version, promotion: Promotion | None
) -> tuple[list[Cited], int]:
    """Those that the document may cite, and how many earlier changes are left out."""
    model = ("model", f"{version.ref.name}/{version.ref.version}")
    snapshot = version.tags.get("loop.snapshot_sha256", "")
    own_types = (*_CHANGES, "gate", "labels", "impact")
    queries = [
        (EventQuery((model,), own_types), _MOST),
        (EventQuery((("run", version.run_id),)), _MOST),
        (EventQuery(types=("dataset", "labels")), _MOST),
        (EventQuery(types=_CHANGES), _MOST_CHANGES),
        *((EventQuery(types=types), 1) for types in _EXAMPLES),
    ]
    if snapshot:
        about = (("snapshot", snapshot),)
        queries.append((EventQuery(about, ("snapshot", "folds", "split")), _MOST))
    if promotion is not None:
        gold = (("gold", promotion.candidate_score.gold_sha256),)
        queries.append((EventQuery(gold, ("gold",)), _MOST))
    found = {e.index: e for query, limit in queries for e in log.find(query, limit=limit)}
    frozen = [i for i, e in found.items() if e.event.type == "snapshot.created"]
    for type in _ANSWERS:  # those that the snapshot can hold
        last = log.find(EventQuery(types=(type,)), limit=1, before=min(frozen, default=None))
        found |= {e.index: e for e in last}
    cited = [Cited(i, e.event, e.leaf_sha256, e.data) for i, e in sorted(found.items())]
    return cited, _left_out(log)


def _left_out(log: AuditLog) -> int:
    """How many changes came before those that are shown."""
    changes = EventQuery(types=_CHANGES)
    shown = log.find(changes, limit=_MOST_CHANGES)
    if len(shown) < _MOST_CHANGES:
        return 0
    return len(log.find(changes, limit=_MOST_COUNTED, before=shown[0].index))


def _log(log: AuditLog) -> Log:
    found = Checkpoint.parse(log.checkpoint().text)
    return Log(found.origin, found.size, found.root.hex(), str(log.public_key()))


def _software() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _drift(settings: Settings, registry: ModelRegistry, ref: ModelRef) -> tuple[str, str]:
    """What it is measured against, or why against nothing."""
    found = drift_reference(settings, registry, ref)
    if found["state"] != "gold set":
        return "", f"{found['reason']} {found['hint']}".strip()
    gold = found["gold_sha256"]
    return f"what it detected on {found['images']} images of the gold set {gold}.", ""


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)

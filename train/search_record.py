"""What a search puts on record when it starts, and finds again when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loop.errors import BrokenRecord, Conflict, NotFound
from loop.events import Role, new_id
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.run_proofs import DATASET_TAG
from store.settings import Settings
from store.tracking import RunInfo, Tracking
from store.unit_of_work import open_units_of_work
from train.base_model import Base, BaseKind, resolve_base
from train.indices import check_index, read_folds
from train.params import Params
from train.paths import StagePaths
from train.run_record import CV_ID_TAG, RunRecord, code_version, dvc_rev, open_record, reopen_record
from train.search_space import SearchSpace, search_space
from train.search_trials import TRIAL_KIND
from train.session import Context, Plan, Split
from train.session_record import logged_params
from train.session_state import LAST, SEARCH

_FILE = "search.json"
# Candidates are tried beside the champion, too: those are other trials.
_TRIAL_NOUN = "search_trial"
_MOST_SEARCHES = 1000


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """What a search was asked for. ``params`` name the very file that training starts from;
    ``record`` is what `reopen_record` takes."""

    params: Params
    labels: Labels
    trials: int
    snapshot_sha256: str
    folds_sha256: str
    base_sha256: str
    record: Mapping[str, Any]

    @property
    def space(self) -> SearchSpace:
        return search_space(self.params)

    def as_json(self) -> str:
        raw = asdict(self) | {"params": self.params.model_dump(mode="json")}
        return json.dumps(raw, indent=2)

    @classmethod
    def from_json(cls, text: str) -> SearchSpec:
        try:
            raw = json.loads(text)
            params, labels = Params.model_validate(raw.pop("params")), Labels(raw.pop("labels"))
            return cls(params=params, labels=labels, **raw)
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenRecord(f"{_FILE} is not that of a search: {error}.") from error


def begin_search(context: Context, labels: Labels, trials: int) -> tuple[SearchSpec, RunRecord]:
    """Open the run of a new search, with all that it needs to be resumed."""
    params, plan = context.params, trial_plan(context, labels)
    space = search_space(params)
    base = resolve_base(
        params,
        context.registry,
        workspace=context.workspace,
        cache=context.settings.model_cache,
        allow_downloads=context.settings.allow_downloads,
    )
    subject = {
        "snapshot_sha256": context.snapshot.sha256,
        "folds_sha256": plan.index_sha256,
        "base_weights_sha256": base.sha256,
    }
    tags = {
        CV_ID_TAG: new_id(),
        "loop.labels": labels.value,
        DATASET_TAG: context.snapshot.manifest.dataset_root,
        "loop.dvc_rev": dvc_rev(context.workspace),
        "loop.git_commit": code_version(),
        "loop.base_kind": base.kind.value,
        "loop.seed": str(params.SEED),
        **{f"loop.{name}": digest for name, digest in subject.items()},
    }
    tried = {f"search.{name}": str(params.search[name]) for name in space.dimensions}
    record = open_record(
        context.tracking,
        context.units,
        open_audit_log(context.settings),
        kind=SEARCH,
        noun=SEARCH,
        actor=context.settings.acting(Role.ENGINEER),
        subject=subject,
        tags=tags,
        params=logged_params(params) | dict(space.fixed) | tried,
        job=context.settings.job,
    )
    record.start({"trials": trials, "space": params.search, "labels": labels.value})
    spec = SearchSpec(
        params=_from_this_base(params, base),
        labels=labels,
        trials=trials,
        snapshot_sha256=context.snapshot.sha256,
        folds_sha256=plan.index_sha256,
        base_sha256=base.sha256,
        record=record.as_dict(),
    )
    context.tracking.log_text(record.run_id, spec.as_json(), _FILE)
    return spec, record


def find_search(tracking: Tracking, run: str) -> RunInfo:
    """By MLflow run id, the beginning of one, or ``last``. Raises `NotFound`, `Conflict`."""
    searches = tracking.runs({"loop.kind": SEARCH}, _MOST_SEARCHES)
    found = searches[:1] if run == LAST else [s for s in searches if s.run_id.startswith(run)]
    if not found:
        known = ", ".join(search.run_id[:8] for search in searches[:5])
        raise NotFound(
            f"There is no search {run!r}.",
            hint=f"The newest are {known}." if known else "Start one: secondlook train search",
        )
    if len(found) > 1:
        raise Conflict(f"Several searches begin with {run!r}.", hint="Give more of its id.")
    return found[0]


def read_spec(tracking: Tracking, run_id: str) -> SearchSpec:
    try:
        return SearchSpec.from_json(tracking.read_text(run_id, _FILE))
    except NotFound as error:
        raise NotFound(
            f"Search {run_id[:8]} ended before it had begun.", hint="Start a new one."
        ) from error


def record_of(settings: Settings, tracking: Tracking, spec: SearchSpec) -> RunRecord:
    log = open_audit_log(settings)
    return reopen_record(tracking, open_units_of_work(settings), log, spec.record)


def trial_plan(context: Context, labels: Labels) -> Plan:
    """What each trial trains: all folds of the workspace. ``out`` is left to the caller."""
    folds = read_folds(context.workspace / StagePaths(labels).folds)
    check_index(folds, context.snapshot)
    return Plan(
        kind=TRIAL_KIND,
        noun=_TRIAL_NOUN,
        labels=labels,
        splits=tuple(
            Split(fold, tuple(folds.train_rows(fold)), tuple(folds.val_rows(fold)))
            for fold in range(folds.k)
        ),
        index_name="folds",
        index_sha256=folds.sha256,
        out=Path(),
    )


def check_unchanged(spec: SearchSpec, context: Context) -> None:
    """Raise `Conflict` unless trials of today could be compared with those of the start."""
    plan = trial_plan(context, spec.labels)
    base = resolve_base(
        spec.params,
        context.registry,
        workspace=context.workspace,
        cache=context.settings.model_cache,
        allow_downloads=False,
    )
    for what, old, new in (
        ("snapshot", spec.snapshot_sha256, context.snapshot.sha256),
        ("folds", spec.folds_sha256, plan.index_sha256),
        ("base model", spec.base_sha256, base.sha256),
    ):
        if old != new:
            raise Conflict(
                f"The search cannot go on: its {what} was {old[:12]}, and is {new[:12]} now.",
                hint="Bring the data back (git checkout, dvc checkout), or start a new search.",
            )


def _from_this_base(params: Params, base: Base) -> Params:
    """The champion may be another one before the last trial: all start from the same file."""
    if base.kind is not BaseKind.ARCHITECTURE:
        return params.model_copy(update={"BASE_MODEL": str(base.path)})
    named = params.BASE_MODEL.endswith((".yaml", ".yml"))
    return params if named else params.model_copy(update={"BASE_MODEL": params.ARCHITECTURE})

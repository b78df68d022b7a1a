"""What a session is about: how it is told from others, and what its run says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loop.events import Role
from store.audit_log import open_audit_log
from store.run_proofs import DATASET_TAG
from train.base_model import Base
from train.params import Params
from train.run_record import CV_ID_TAG, RunRecord, code_version, dvc_rev, open_record

if TYPE_CHECKING:
    from train.session import Context, Plan

# What may change between two attempts: where folds run, and what is done with their models.
_FREE_PARAMS = frozenset({"CPUS_PER_FOLD", "GPUS_PER_FOLD", "EXPORTS", "FINAL_MODEL", "search"})


def fingerprint_of(plan: Plan, context: Context) -> dict[str, str]:
    """What has to be the same for a session to be taken up, by name."""
    params = logged_params(context.params)
    kept = {name: str(value) for name, value in params.items() if name not in _FREE_PARAMS}
    return {
        "kind": plan.kind,
        "labels": plan.labels.value,
        "snapshot": context.snapshot.sha256,
        plan.index_name: plan.index_sha256,
        "splits": str(len(plan.splits)),
        **kept,
    }


def open_session_record(
    plan: Plan, context: Context, base: Base, cv_id: str, parent: str | None
) -> RunRecord:
    subject = {
        "snapshot_sha256": context.snapshot.sha256,
        f"{plan.index_name}_sha256": plan.index_sha256,
        "base_weights_sha256": base.sha256,
    }
    tags = {
        CV_ID_TAG: cv_id,
        "loop.labels": plan.labels.value,
        "loop.dvc_rev": dvc_rev(context.workspace),
        "loop.snapshot_sha256": context.snapshot.sha256,
        DATASET_TAG: context.snapshot.manifest.dataset_root,
        f"loop.{plan.index_name}_sha256": plan.index_sha256,
        "loop.git_commit": code_version(),
        "loop.base_weights_sha256": base.sha256,
        "loop.base_kind": base.kind.value,
        "loop.seed": str(context.params.SEED),
        **plan.tags,
    }
    params = logged_params(context.params)
    record = open_record(
        context.tracking,
        context.units,
        open_audit_log(context.settings),
        kind=plan.kind,
        noun=plan.noun,
        actor=context.settings.acting(Role.ENGINEER),
        subject=subject,
        tags=tags,
        params=params,
        parent=parent,
        job=context.settings.job,
    )
    record.start({"params": params, "splits": len(plan.splits), "labels": plan.labels.value})
    return record


def logged_params(params: Params) -> dict[str, Any]:
    """As MLflow and events have them: one level, JSON values, without the space of a search."""
    values = params.model_dump(mode="json", exclude={"search"})
    hyperparameters: Mapping[str, Any] = values.pop("train")
    return values | {f"train.{name}": value for name, value in hyperparameters.items()}

"""The model that a cross-validation ends in: one more training on all folds, or its best fold.

A refit has no images left to validate on, so it cannot tell when to stop: it trains for the median
of the epochs after which the folds' models were best, and the folds' mean and spread are the
estimate of its scores. The median, since one fold that stopped early or late should not decide.

Its schedule is that of the folds, shortened as a whole: the learning rate falls to its end within
the refit's epochs, and warm-up and the epochs at the end without mosaics, which are numbers of
epochs, keep their share of them. A fold's best model was made by a schedule that had not come to
its end; a refit that broke off there too would keep a learning rate that is too high, and one with
ten epochs without mosaics out of twelve would be another training. All else stays the same. An
epoch has more images than a fold's, by a k-th or so.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loop.errors import NotFound
from train.base_model import CHAMPION, BaseKind
from train.fold_job import run_fold
from train.fold_worker import FoldJob
from train.params import FinalModel, Params
from train.results import FoldRow, best_row
from train.session import Context, Plan, Split, Trained, training
from train.session_state import sessions, storage_of
from train.stage import out as console

FINAL = "final.pt"
_REFIT = "refit"
# Ultralytics' defaults (ultralytics/cfg/default.yaml, 8.4.190) of what counts epochs.
_WARMUP_EPOCHS, _CLOSE_MOSAIC = 3.0, 10


@dataclass(frozen=True, slots=True)
class Final:
    """``weights`` is in the results' folder. ``run_id`` is the MLflow run that trained it for
    ``epochs``; ``fold`` is None for a refit."""

    kind: FinalModel
    weights: Path
    epochs: int
    run_id: str
    fold: int | None = None

    @property
    def tags(self) -> dict[str, str]:
        fold = {} if self.fold is None else {"loop.fold": str(self.fold)}
        return {"loop.final_model": self.kind.value, **fold}

    def as_dict(self) -> dict[str, Any]:
        """As ``summary.json`` has it; a refit has no scores of its own."""
        details: dict[str, Any] = {
            "kind": self.kind.value,
            "epochs": self.epochs,
            "mlflow_run_id": self.run_id,
            "weights": self.weights.as_posix(),
        }
        if self.fold is not None:
            return details | {"fold": self.fold}
        note = "No image was left to validate it on: the folds' mean and std estimate its scores."
        return details | {"note": note}


def final_model(
    context: Context, plan: Plan, trained: Trained, *, job: FoldJob = run_fold
) -> Final:
    """Make ``final.pt`` in ``plan.out``, as ``FINAL_MODEL`` says. Raises what `training` raises.

    ``job`` is what the refit's worker does.
    """
    if context.params.FINAL_MODEL is FinalModel.REFIT:
        return _refit(context, plan, trained, job)
    best = best_row(trained.rows)
    weights = Path(shutil.copyfile(best.weights, plan.out / FINAL))
    return Final(FinalModel.BEST_FOLD, weights, best.best_epoch, best.mlflow_run_id, best.fold)


def refit_epochs(rows: Sequence[FoldRow]) -> int:
    return max(1, round(statistics.median(row.best_epoch for row in rows)))


def refit_params(params: Params, epochs: int) -> Params:
    """``params`` with a schedule shortened to ``epochs``."""
    share = epochs / params.EPOCHS
    warmup = float(params.train.get("warmup_epochs", _WARMUP_EPOCHS))
    close_mosaic = int(params.train.get("close_mosaic", _CLOSE_MOSAIC))
    changes: dict[str, Any] = {"EPOCHS": epochs, "PATIENCE": 0}
    if share != 1:
        shortened = {
            "warmup_epochs": round(warmup * share, 3),
            "close_mosaic": round(close_mosaic * share),
        }
        changes["train"] = params.train | shortened
    return params.model_copy(update=changes)


def _refit(context: Context, plan: Plan, trained: Trained, job: FoldJob) -> Final:
    kept = _Kept(storage_of(context.settings.home), trained.record.run_id)
    done = kept.find() or _train(context, plan, trained, kept, job)
    weights = Path(shutil.copyfile(kept.weights, plan.out / FINAL))
    return Final(FinalModel.REFIT, weights, done.epochs, done.run_id)


@dataclass(frozen=True, slots=True)
class _Refitted:
    epochs: int
    run_id: str


class _Kept:
    """A refit that is done, beside the checkpoints of the cross-validation that it belongs to: who
    takes that up later must not train it again. It goes with them when all has ended well."""

    def __init__(self, storage: Path, run_id: str) -> None:
        self._storage = storage
        self._parent = run_id
        self._note = storage / run_id / "refit.json"
        self.weights = storage / run_id / FINAL

    def find(self) -> _Refitted | None:
        """None as long as the refit's own session has not been closed."""
        if any(s.parent == self._parent and s.kind == _REFIT for _, s in sessions(self._storage)):
            return None
        try:
            return _Refitted(**json.loads(self._note.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def put(self, weights: Path, refitted: _Refitted) -> None:
        partial = self.weights.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, partial)
        partial.replace(self.weights)
        partial.write_text(json.dumps(asdict(refitted)), encoding="utf-8")
        partial.replace(self._note)


def _train(context: Context, plan: Plan, trained: Trained, kept: _Kept, job: FoldJob) -> _Refitted:
    epochs = refit_epochs(trained.rows)
    rows = sorted({row for split in plan.splits for row in (*split.train_rows, *split.val_rows)})
    console.print(
        f"Final model: one more training on all {len(rows)} images, for {epochs} epochs "
        "(the median of the folds' best).",
        highlight=False,
        markup=False,
    )
    params = refit_params(context.params, epochs)
    own = replace(context, params=params.model_copy(update={"BASE_MODEL": _base(context, trained)}))
    refit = replace(
        plan,
        kind=_REFIT,
        noun=_REFIT,
        splits=(Split(0, tuple(rows), ()),),
        out=plan.out / _REFIT,
        one_run=True,
        validates=False,
    )
    with training(refit, own, parent=trained.record.run_id, job=job) as refitted:
        (outcome,) = refitted.outcomes
        done = _Refitted(epochs, refitted.record.run_id)
        kept.put(outcome.folder / "best.pt", done)
        seconds = outcome.result.seconds if outcome.result else 0.0
        refitted.record.end({"epochs": epochs, "seconds": seconds, "train_images": len(rows)})
    return done


def _base(context: Context, trained: Trained) -> str:
    """``BASE_MODEL`` that means what the folds started from: the champion may be another by now."""
    if context.params.BASE_MODEL != CHAMPION:
        return context.params.BASE_MODEL
    tags = trained.record.tags
    if tags["loop.base_kind"] == BaseKind.ARCHITECTURE.value:
        return context.params.ARCHITECTURE
    digest = tags["loop.base_weights_sha256"]
    refs = (version.ref for version in context.registry.versions())
    base = next((ref for ref in refs if ref.digest == digest), None)
    if base is None:
        raise NotFound(
            f"The folds started from the weights {digest[:12]}, which no registered version has.",
            hint="Restore that version in MLflow, or train again with FINAL_MODEL: best_fold.",
        )
    return str(context.registry.fetch(base))

"""What people and later stages get of a training that went well: files, and MLflow's artifacts.

Out-of-fold predictions, the page of plots, precision against recall, the confusion matrix, and
examples of the worst errors. A model that took hours must not be lost to
a plot: what does not work out here is said, and put on record as a tag of the run, and the stage
goes on.
"""

from __future__ import annotations

import csv
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loop.confusion import CONFIDENCE, Confusion, confusion
from loop.errors import LoopError
from loop.metrics import RECALLS, PrecisionRecall, precision_recall
from train.data_inputs import profile
from train.detections_file import DETECTIONS_FILE
from train.error_examples import ERRORS_PAGE, errors_page
from train.out_of_fold import HeldOut, OutOfFold, collect
from train.out_of_fold_file import OUT_OF_FOLD, write_out_of_fold
from train.plots import PLOTS, Page, Part, write_plots
from train.results import class_spread, spread
from train.session import Context, Plan, Trained
from train.stage import out as console

CONFUSION_JSON, CURVES_CSV = "confusion_matrix.json", "precision_recall.csv"
# Names what could not be published; a run without it has everything.
FAILED_TAG = "loop.publishing_failed"
# MLflow cuts longer ones (MAX_TAG_VAL_LENGTH in mlflow/utils/validation.py is 8000).
_LONGEST_TAG = 1000


def publish_results(context: Context, plan: Plan, trained: Trained) -> None:
    """Write the results of ``trained`` to ``plan.out`` and to MLflow."""
    _Publisher(context, plan, trained).publish()


class _Publisher:
    def __init__(self, context: Context, plan: Plan, trained: Trained) -> None:
        self._context = context
        self._plan = plan
        self._trained = trained
        self._run_id = trained.record.run_id
        self._failures: list[str] = []

    def publish(self) -> None:
        context, plan = self._context, self._plan
        seen: OutOfFold | None = None
        with self._attempt("out-of-fold predictions"):
            seen = self._collect()
            write_out_of_fold(plan.out / OUT_OF_FOLD, seen)
            self._log(plan.out / OUT_OF_FOLD)
        curves: dict[str, PrecisionRecall] = {}
        found: Confusion | None = None
        if seen is not None:
            with self._attempt("precision and recall"):
                curves = precision_recall(seen.truth(), seen.detected(), seen.classes)
                _write_curves(plan.out / CURVES_CSV, curves)
                self._log(plan.out / CURVES_CSV)
            with self._attempt("confusion matrix"):
                found = confusion(seen.truth(), seen.detected(CONFIDENCE), seen.classes)
                _write_confusion(plan.out / CONFUSION_JSON, found)
                self._log(plan.out / CONFUSION_JSON)
        with self._attempt("plots"):
            write_plots(plan.out / PLOTS, self._page(curves, found))
            self._log(plan.out / PLOTS)
        if seen is not None and context.settings.log_examples:
            with self._attempt("examples of the worst errors"):
                page = errors_page(context.snapshot, seen)
                context.tracking.log_text(self._run_id, page, ERRORS_PAGE)
        self._put_failures_on_record()

    def _collect(self) -> OutOfFold:
        plan, record = self._plan, self._trained.record
        parts = [
            HeldOut(o.task.fold, o.task.val_rows, o.folder / DETECTIONS_FILE)
            for o in self._trained.outcomes
        ]
        expected = {row for split in plan.splits for row in split.val_rows}
        if not plan.one_run:  # every image that is trained on is held out by some fold
            expected |= {row for split in plan.splits for row in split.train_rows}
        digests = {
            f"{plan.index_name}_sha256": plan.index_sha256,
            "cv_id": record.tags["loop.cv_id"],
            "mlflow_run_id": record.run_id,
        }
        return collect(self._context.snapshot, parts, expected, digests)

    def _page(self, curves: dict[str, PrecisionRecall], found: Confusion | None) -> Page:
        plan, trained = self._plan, self._trained
        tags = trained.record.tags
        facts = {
            "MLflow run": trained.record.run_id,
            "Snapshot": self._context.snapshot.sha256,
            plan.index_name.capitalize(): plan.index_sha256,
            "DVC revision": tags["loop.dvc_rev"],
            "Code": tags["loop.git_commit"],
            "Base weights": tags["loop.base_weights_sha256"],
            "Seed": tags["loop.seed"],
        }
        several = len(plan.splits) > 1
        return Page(
            title=f"Cross-validation, {len(plan.splits)} folds" if several else "Training",
            facts={name: value for name, value in facts.items() if value},
            rows=trained.rows,
            spreads=spread(trained.rows),
            histories={o.task.fold: o.result.history for o in trained.outcomes if o.result},
            per_class=class_spread(trained.outcomes),
            parts=[
                _part(self._context, f"fold {s.fold}" if several else "validation", s.val_rows)
                for s in plan.splits
            ],
            curves=curves,
            confusion=found,
        )

    def _log(self, path: Path) -> None:
        self._context.tracking.log_file(self._run_id, path)

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # even a mistake of ours must not cost the models
            if not isinstance(error, LoopError | OSError):  # a full disk, a silent MLflow
                console.print(traceback.format_exc(), highlight=False, markup=False)
            self._failures.append(f"{what}: {_reason(error)}")

    def _put_failures_on_record(self) -> None:
        if not self._failures:
            return
        for failure in self._failures:
            console.print(
                f"Warning: not published: {failure}", style="yellow", highlight=False, markup=False
            )
        with self._attempt("the record of this"):
            text = "; ".join(self._failures)[:_LONGEST_TAG]
            self._context.tracking.set_tags(self._run_id, {FAILED_TAG: text})


def _part(context: Context, name: str, rows: tuple[int, ...]) -> Part:
    counts = profile(context.snapshot, rows)
    return Part(
        name,
        counts["images"],
        counts["subjects"],
        counts["negatives"],
        counts["boxes_per_class"],
    )


def _reason(error: Exception) -> str:
    if isinstance(error, LoopError):
        return error.message
    return f"{type(error).__name__}: {error}"


def _write_curves(path: Path, curves: dict[str, PrecisionRecall]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "recall", "precision", "confidence"])
        for name, curve in curves.items():
            points: Any = zip(RECALLS, curve.precisions, curve.confidences, strict=True)
            for recall, precision, confidence in points:
                told = "" if confidence is None else f"{confidence:.6f}"
                writer.writerow([name, f"{recall:.2f}", f"{precision:.6f}", told])


def _write_confusion(path: Path, found: Confusion) -> None:
    """Rows are true classes, columns detected ones, background last."""
    document = {
        "labels": list(found.labels),
        "counts": found.counts.tolist(),
        "shares": found.shares.round(6).tolist(),
        "confidence": found.confidence,
        "iou": found.iou,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

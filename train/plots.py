"""The page about a training: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from loop.confusion import Confusion
from loop.metrics import PrecisionRecall
from train.figures import (
    History,
    class_bars,
    confusion_maps,
    fold_bars,
    learning_curves,
    precision_recall_curves,
)
from train.results import SCORES, FoldRow, Spread

PLOTS = "plots.html"


@dataclass(frozen=True, slots=True)
class Part:
    """What a fold validates on. ``boxes`` are by class name."""

    name: str
    images: int
    subjects: int
    negatives: int
    boxes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to show. ``histories`` have an entry an epoch for each fold, with ``epoch``,
    and scores and losses where there are some; ``per_class`` is as `train.results.class_spread`
    gives it. What comes from the out-of-fold predictions is left empty where there are none."""

    title: str
    facts: Mapping[str, str]
    rows: Sequence[FoldRow]
    spreads: Mapping[str, Spread]
    histories: Mapping[int, History]
    per_class: Mapping[str, Mapping[str, float]]
    parts: Sequence[Part]
    curves: Mapping[str, PrecisionRecall] = field(default_factory=dict)
    confusion: Confusion | None = None


def write_plots(path: Path, page: Page) -> None:
    """Scores of the folds with their spread, what each validates on, learning curves with their
    mean, the classes, and, from the out-of-fold predictions, precision against recall and which
    class is taken for which."""
    path.write_text(plots(page), encoding="utf-8")


def plots(page: Page) -> str:
    several = len(page.rows) > 1
    draw = _Figures()
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        _facts(page.facts),
        _h("Best model of each fold" if several else "Best model"),
        _scores(page.rows, page.spreads),
        draw(fold_bars(page.rows, page.spreads)),
        _h("What each fold validates on" if several else "What it was validated on"),
        _counts(page.parts),
        _h("Learning curves"),
        draw(learning_curves(page.histories)),
    ]
    if page.per_class:
        spread = (
            "Mean and standard deviation over the folds that show the class." if several else ""
        )
        parts += [_h("Classes", spread), draw(class_bars(page.per_class))]
    if page.curves:
        note = "On the validation images, at IoU 0.5."
        if several:
            note = (
                "All images, each seen by the fold that was not trained on it, at IoU 0.5. AP50 is "
                "that of all images together, not the mean of the folds."
            )
        parts += [_h("Precision and recall", note), draw(precision_recall_curves(page.curves))]
    if page.confusion is not None:
        note = (
            f"Detections from confidence {page.confusion.confidence:g} up, hits from IoU "
            f"{page.confusion.iou:g} up. The last column is what was missed, the last row what is "
            "false."
        )
        parts += [_h("Which class is taken for which", note), draw(confusion_maps(page.confusion))]
    return _HEAD.replace("TITLE", escape(page.title)) + "".join(parts)


class _Figures:
    """Figures as HTML; the first one brings the library along, inline: the file is opened from
    disk and inside MLflow."""

    def __init__(self) -> None:
        self._first = True

    def __call__(self, figure: Any) -> str:
        html: str = figure.to_html(
            full_html=False, include_plotlyjs=self._first, config={"displaylogo": False}
        )
        self._first = False
        return html


def _scores(rows: Sequence[FoldRow], spreads: Mapping[str, Spread]) -> str:
    headers = [
        "fold",
        "mAP50",
        "mAP50-95",
        "precision",
        "recall",
        "best epoch",
        "epochs",
        "seconds",
    ]
    body = [
        [
            str(row.fold),
            *(f"{getattr(row, name):.3f}" for name in SCORES),
            *(str(row.best_epoch), str(row.epochs), f"{row.seconds:.0f}"),
        ]
        for row in rows
    ]
    if len(rows) > 1:
        body += [
            ["mean", *(f"{spreads[name].mean:.3f}" for name in SCORES), "", "", ""],
            ["± sd", *(f"{spreads[name].std:.3f}" for name in SCORES), "", "", ""],
        ]
    return _table(headers, body)


def _counts(parts: Sequence[Part]) -> str:
    classes = list(parts[0].boxes) if parts else []
    headers = ["part", "images", "subjects", "negatives", *(f"boxes: {name}" for name in classes)]
    body = [
        [
            part.name,
            *(str(n) for n in (part.images, part.subjects, part.negatives)),
            *(str(part.boxes[name]) for name in classes),
        ]
        for part in parts
    ]
    return _table(headers, body)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"


def _facts(facts: Mapping[str, str]) -> str:
    said = "".join(f"<dt>{escape(name)}</dt><dd>{escape(v)}</dd>" for name, v in facts.items())
    return f"<dl>{said}</dl>"


def _h(text: str, note: str = "") -> str:
    return f"<h2>{escape(text)}</h2>" + (f"<p>{escape(note)}</p>" if note else "")


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>TITLE</title><style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; margin: 24px auto; max-width: 1200px;
  padding: 0 16px; }
h1 { font-size: 22px; } h2 { font-size: 18px; margin: 32px 0 4px; }
p { color: #52606d; margin: 4px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 13px; }
dt { color: #52606d; }
dd { margin: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: right; border-bottom: 1px solid #d9dee4;
  white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
th { color: #52606d; font-weight: 600; }
</style>"""

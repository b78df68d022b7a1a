"""Scores in the technical documentation: of each fold, of each class, and on the gold set."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from loop.bootstrap import Interval
from loop.impact import class_scores
from loop.promotions import GoldScore, Promotion
from loop.techfile import Evidence, Gap, Item, Mark, Plot, Statement, Table
from loop.techfile_records import DASH, Records, day, events_of, number

SCORES = {"map50_95": "mAP50-95", "map50": "mAP50", "precision": "precision", "recall": "recall"}
_NO_FOLDS = Gap(
    "scores of folds",
    "A cross-validation leaves them in MLflow: secondlook train kfold.",
)


def fold_items(records: Records) -> tuple[Item, ...]:
    """A table of the folds' scores, and one of their spread, with a plot."""
    scored = [(run, [run.metrics.get(f"best_{name}") for name in SCORES]) for run in records.folds]
    scored = [(run, values) for run, values in scored if any(v is not None for v in values)]
    if not scored:
        return (_NO_FOLDS,)
    evidence = tuple(run.evidence for run, _ in scored) + _fold_events(records)
    folds = Table(
        "Scores of each fold, on the images that it held out",
        ("fold", *SCORES.values(), "best epoch"),
        tuple(
            (run.fold, *map(number, values), number(run.metrics.get("best_epoch"), 0))
            for run, values in scored
        ),
        evidence,
    )
    marks, missing = [], []
    for place, name in enumerate(SCORES.values()):
        found = [value for _, values in scored if (value := values[place]) is not None]
        if found:
            marks.append(_mark(name, found))
        else:
            missing.append(Gap(f"{name} of the folds", "No fold's run in MLflow has it."))
    return (folds, _spread("Spread over the folds", "score", marks, evidence), *missing)


def class_items(records: Records) -> tuple[Item, ...]:
    """AP50-95 of each class over the folds that show it."""
    found: dict[str, list[float]] = {}
    for run in records.folds:
        scores = class_scores(run.metrics, records.version.classes, "map50_95")
        for name, value in scores.items():
            found.setdefault(name, []).append(value)
    if not found:
        return (Gap("scores of each class in the folds", _NO_FOLDS.how),)
    marks = [_mark(name, values) for name, values in found.items()]
    evidence = tuple(run.evidence for run in records.folds)
    items: list[Item] = [_spread("AP50-95 of each class over the folds", "class", marks, evidence)]
    missing = [name for name in records.version.classes if name not in found]
    items += [
        Gap(
            f"a score in the folds for the class {name}", "No fold held out an image that shows it."
        )
        for name in missing
    ]
    return tuple(items)


def gold_items(records: Records) -> tuple[Item, ...]:
    promotion = records.promotion
    if promotion is None:
        how = f"secondlook models compare {records.ref.version}"
        return (Gap("a measurement on the gold set and the gate's verdict", f"Make it: {how}"),)
    evidence = gate_evidence(records, promotion)
    score, champion = promotion.candidate_score, promotion.champion_score
    own, others = _scores(score), _scores(champion) if champion else {}
    names = list(dict.fromkeys([*own, *others]))
    marks = [Mark(n, (others[n],) if n in others else (), own.get(n)) for n in names]
    caption, columns = f"On {score.images} gold images", ["score", f"version {score.model.version}"]
    if champion:
        columns.append(f"version {champion.model.version}")
        caption += f", against version {champion.model.version} (bar: this version, dot: the other)"
    rows = [(n, number(own.get(n)), number(others.get(n)))[: len(columns)] for n in names]
    table = Table(caption, tuple(columns), tuple(rows), evidence, Plot(tuple(marks)))
    return (table, *gate_items(promotion, evidence))


def gate_items(promotion: Promotion, evidence: tuple[Evidence, ...]) -> tuple[Item, ...]:
    """The verdict, what it rests on, and the times."""
    decision = promotion.decision
    reasons = " ".join(decision.reasons)
    items: list[Item] = [
        Statement(
            f"On {day(promotion.created_at)} the gate's verdict was "
            f"{decision.verdict.value.replace('_', ' ')}. {reasons}".strip(),
            evidence,
        )
    ]
    gate = decision.gate
    if gate is None:
        items.append(
            Gap("an interval around the change", "The verdict rests on no comparison with one.")
        )
        return tuple(items)
    changes: Mapping[str, Interval] = {
        "mAP50-95": gate.map50_95,
        "mAP50": gate.map50,
        **{f"AP50-95, {name}": each.interval for name, each in gate.classes.items()},
    }
    low, high = _range(changes.values())
    items.append(
        Table(
            f"Change against the champion, by a paired bootstrap over {gate.groups} independent "
            f"groups of {gate.images} images (rule: {gate.rule}; use {gate.use.number} of this "
            f"gold set, at a risk of {gate.use.alpha:.4f})",
            ("score", "change", "lower bound", "upper bound"),
            tuple(
                (name, _signed(c.estimate), _signed(c.lower), _signed(c.upper))
                for name, c in changes.items()
            ),
            evidence,
            Plot(
                tuple(Mark(n, (), c.estimate, c.lower, c.upper) for n, c in changes.items()),
                low,
                high,
            ),
        )
    )
    times = gate.latency
    if times is None:
        items.append(Gap("how long an image takes", "The gate measured no times."))
    else:
        items.append(
            Statement(
                f"An image takes {times.candidate_ms:.1f} ms, where the champion takes "
                f"{times.champion_ms:.1f} ms: {times.factor:.2f} times as long (95 % interval "
                f"{times.lower:.2f} to {times.upper:.2f}, median over {times.images} images).",
                evidence,
            )
        )
    return tuple(items)


def gate_evidence(records: Records, promotion: Promotion) -> tuple[Evidence, ...]:
    found = records.about("promotion_id", promotion.id, "gate.decided")
    return events_of(found[-1:]) or records.database_evidence


def _fold_events(records: Records) -> tuple[Evidence, ...]:
    runs = {run.run_id for run in records.folds}
    ended = records.of_types("fold.ended")
    return events_of([e for e in ended if e.event.subject.get("fold_run_id") in runs])


def _scores(score: GoldScore) -> dict[str, float]:
    per_class = {f"AP50-95, {name}": value for name, value in score.per_class.items()}
    return {"mAP50-95": score.map50_95, "mAP50": score.map50, **per_class}


def _mark(label: str, values: Sequence[float]) -> Mark:
    mean = statistics.fmean(values)
    return Mark(label, tuple(values), mean, min(values), max(values))


def _spread(
    caption: str, what: str, marks: Sequence[Mark], evidence: tuple[Evidence, ...]
) -> Table:
    """``sd`` is the sample standard deviation; a dash for a single fold."""
    return Table(
        f"{caption} (line: mean, bar: lowest to highest, dots: folds)",
        (what, "mean", "sd", "min", "max", "folds"),
        tuple(
            (
                mark.label,
                number(mark.middle),
                number(statistics.stdev(mark.points) if len(mark.points) > 1 else None),
                number(mark.low),
                number(mark.high),
                str(len(mark.points)),
            )
            for mark in marks
        ),
        evidence,
        Plot(tuple(marks)),
    )


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.3f}"


def _range(changes: Iterable[Interval]) -> tuple[float, float]:
    """Around 0, so that it is seen on which side a change lies."""
    values = [0.0]
    for each in changes:
        values += [v for v in (each.estimate, each.lower, each.upper) if v is not None]
    margin = max(0.02, 0.05 * (max(values) - min(values)))
    return min(values) - margin, max(values) + margin

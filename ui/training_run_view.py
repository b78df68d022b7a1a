"""A run on the training page, as HTML: what it is, and how its folds or its trials stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from loop.pace import in_words
from store.tracking import RunInfo
from ui.run_parts import SEARCH, TRAIN_LOSS, WORDS, Fold, Run, Trial, state_of, title_of
from ui.training_html import Cell, heading, notice, quiet, score, table, when

_PARAMETERS = ("EPOCHS", "BATCH_SIZE", "IMG_SIZE", "PATIENCE", "SEED", "BASE_MODEL")
_FOLD_HEADERS = [
    *("Fold", "Epoch", "Loss", "mAP50", "mAP50-95", "Best mAP50-95"),
    *("Time an epoch", "Left", "Last epoch", "State"),
]


def choice(run: RunInfo) -> str:
    """A line in the list of runs."""
    kind, what = run.tags.get("loop.kind", ""), title_of(run)
    parts = [when(run.started_at), what]
    if kind in WORDS and kind != SEARCH:
        folds = f"{run.params.get('K_FOLDS', '?')} folds, " if kind == "cv" else ""
        parts.append(f"{folds}{run.params.get('EPOCHS', '?')} epochs")
    return " · ".join([*parts, state_of(run), run.run_id[:8]])


def trial_choices(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """Lines in the list of a search's trials, and their runs."""
    return [
        (
            f"Trial {trial.number}"
            + ("" if trial.score is None else f" · mAP50-95 {trial.score:.3f}")
            + f" · {trial.state.split(':')[0]}",
            trial.id,
        )
        for trial in trials
    ]


def run_view(run: Run | None, now: float, tried: Mapping[str, str] | None = None) -> str:
    """``now`` is in seconds since 1970; ``tried`` is what a trial tries, by name."""
    if run is None:
        return quiet("There is no run yet. Start one under Start.")
    ended = f", ended {when(run.ended_at)}" if run.ended_at else ""
    parts = [
        heading(
            f"{run.name.capitalize()} {run.id[:8]}: {run.state}",
            f"started {when(run.started_at)}{ended}",
        ),
        quiet(_parameters(run, tried or {})),
    ]
    if run.failure:
        tone = "bad" if run.state == "failed" else "warn"
        parts.append(notice(tone, run.failure))
    if run.kind == SEARCH:
        parts += _search(run)
    elif run.kind in WORDS:
        parts += _folds(run, now)
    return "".join(parts)


def _folds(run: Run, now: float) -> list[str]:
    rows = [_fold_row(fold, now) for fold in run.rows]
    left = run.left(now)
    parts = []
    if run.live and run.rows:
        told = _progress(run)
        if left is not None:
            told += f" About {in_words(left)} left, if no fold stops early."
        parts.append(quiet(told))
    empty = "No fold has started yet." if run.live else "No fold has started."
    parts.append(table(_FOLD_HEADERS, rows, text_columns=(0, 8, 9), empty=empty))
    if run.spread is not None:
        mean, deviation = run.spread
        text = f"Best mAP50-95 over the folds: {mean:.3f} ± {deviation:.3f} (standard deviation)."
        parts.append(quiet(text + (f" Gate: {run.decision}." if run.decision else "")))
    return parts


def _progress(run: Run) -> str:
    """Epochs done of all; a fold that has ended has none to do."""
    total = sum(fold.epochs for fold in run.rows)
    done = sum(fold.epoch if fold.live else fold.epochs for fold in run.rows)
    return f"{done} of {total} epochs are done."


def _fold_row(fold: Fold, now: float) -> list[str | Cell]:
    best = fold.best
    left = fold.going(now).left if fold.live else None
    times = f", resumed {fold.resumed}x" if fold.resumed else ""
    return [
        fold.name,
        f"{fold.epoch}/{fold.epochs}",
        score(fold.last(TRAIN_LOSS)),
        score(fold.last("map50")),
        score(fold.last("map50_95")),
        f"{best.value:.3f} (epoch {best.epoch})" if best else "",
        "" if fold.pace is None else _seconds(fold.pace),
        "" if left is None else in_words(left),
        when(fold.heard_at),
        _state(fold.state + times),
    ]


def _search(run: Run) -> list[str]:
    best = run.best_trial
    names = list(dict.fromkeys(name for trial in run.trials for name in trial.values))
    headers = ["Trial", *names, "mAP50-95", "Epochs", "Time", "State"]
    rows: list[list[str | Cell]] = [
        [
            Cell(str(trial.number), "slt-strong" if trial is best else ""),
            *(trial.values.get(name, "") for name in names),
            Cell(score(trial.score), "slt-strong" if trial is best else ""),
            str(trial.epoch),
            _duration(trial),
            _state(trial.state),
        ]
        for trial in run.trials
    ]
    parts = []
    if best is not None:
        tried = "".join(f", {name} {value}" for name, value in best.values.items())
        so_far = " so far" if run.live else ""
        told = f"mAP50-95 {best.score:.3f}, the mean over its folds{tried}"
        parts.append(quiet(f"The best{so_far} is trial {best.number}: {told}."))
    state_column = len(headers) - 1
    parts.append(
        table(headers, rows, text_columns=(0, state_column), empty="No trial has started yet.")
    )
    return parts


def _parameters(run: Run, tried: Mapping[str, str]) -> str:
    told = {name: run.parameters[name] for name in _PARAMETERS if name in run.parameters}
    return ", ".join(f"{name} {value}" for name, value in (told | dict(tried)).items())


def _state(state: str) -> Cell:
    """A reason may be long: it takes lines of its own."""
    tone = "slt-worse" if state.startswith("failed") else ""
    return Cell(state, f"{tone} slt-wrap".strip() if ":" in state else tone)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else in_words(seconds)


def _duration(trial: Trial) -> str:
    if not trial.ended_at:
        return ""
    start, end = (datetime.fromisoformat(at) for at in (trial.started_at, trial.ended_at))
    return in_words((end - start).total_seconds())

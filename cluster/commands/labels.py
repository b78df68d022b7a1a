"""``secondlook models compare-labels``: what second reviews add to a model."""

from __future__ import annotations

from pathlib import Path

import typer

from cluster.commands.gate_tables import show_intervals
from cluster.console import out, print_json, print_table, progress
from cluster.context import JsonOption, settings_of
from train.label_comparison import LabelComparison, compare_labels


def add_to(group: typer.Typer) -> None:
    group.command("compare-labels")(compare)


def compare(context: typer.Context, json: JsonOption = False) -> None:
    """Measure the models of first and of settled answers, trained in this workspace, on gold.

    Nothing is promoted, and none of the gold set's uses for that is used up.
    """
    settings = settings_of(context)
    with progress("Measuring on the gold set") as step:
        comparison, run_id = compare_labels(settings, Path.cwd(), step)
    if json:
        print_json({**comparison.as_dict(), "mlflow_run_id": run_id})
    else:
        _show(comparison)


def _show(comparison: LabelComparison) -> None:
    scores = {
        "first answers": comparison.first_reviewer,
        "settled answers": comparison.adjudicated,
    }
    print_table(
        f"Models of both kinds of labels, on {comparison.adjudicated.images} gold images",
        ["trained on", "mAP50", "mAP50-95", *comparison.adjudicated.per_class],
        [
            (
                name,
                f"{score.map50:.3f}",
                f"{score.map50_95:.3f}",
                *(f"{value:.3f}" for value in score.per_class.values()),
            )
            for name, score in scores.items()
        ],
    )
    show_intervals(
        "What settled answers add, with intervals that hold in 95 of 100 cases",
        [
            ("mAP50-95", comparison.map50_95, ""),
            ("mAP50", comparison.map50, ""),
            *((f"{name}, AP50-95", each, "") for name, each in comparison.classes.items()),
        ],
    )
    out.print(f"{_words(comparison)}", highlight=False)


def _words(comparison: LabelComparison) -> str:
    gain = comparison.map50_95
    if gain.lower is not None and gain.lower > 0:
        return "The second reviews make the better model: the difference is more than luck."
    if gain.upper is not None and gain.upper < 0:
        return "The first answers make the better model: the difference is more than luck."
    return "These gold images do not show which labels make the better model."

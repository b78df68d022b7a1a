"""``secondlook train search``: hyperparameters, found by many cross-validations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands.parameters import LabelsOption, ParamOption, parsed
from cluster.console import err, out, print_json
from cluster.context import JsonOption, settings_of
from cluster.to_bucket import bring_to_bucket
from loop.errors import InvalidInput
from loop.snapshots import Labels
from store.settings import Settings
from store.workspace import Workspace
from train.params import load_params
from train.search_space import search_space

if TYPE_CHECKING:
    from train.search_results import SearchResult

_DEFAULT_TRIALS = 20


def add_to(group: typer.Typer) -> None:
    group.command()(search)


def search(
    context: typer.Context,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many to try. Default: {_DEFAULT_TRIALS}."),
    ] = None,
    labels: LabelsOption = Labels.ADJUDICATED,
    concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="How many at once. Default: what there is room for."),
    ] = None,
    set: ParamOption = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with that search (an MLflow run), or the last."),
    ] = None,
    write_best: Annotated[
        bool, typer.Option("--write-best", help="Write the best values to params.yaml.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Search for hyperparameters: many k-fold trainings, of which bad ones stop early.

    What is tried stands in params.yaml under `search`. Interrupted at any time, it goes on with
    `--resume last`; with more `--trials`, so does a search that is complete.
    """
    from train.search import note_written, resume_search  # imports Ray, Optuna and Plotly

    settings, workspace = settings_of(context), Workspace(Path.cwd())
    if resume:
        if set:
            raise InvalidInput(
                "A search goes on with the parameters that it began with.",
                hint="Leave out -S, or start a new search without --resume.",
            )
        result = resume_search(
            settings,
            resume,
            workspace=workspace.folder,
            trials=trials,
            at_once=concurrent,
            console=err if json else out,
        )
    else:
        workspace.set_params(parsed(set or []))
        result = _start(settings, workspace, labels, trials or _DEFAULT_TRIALS, concurrent, json)
    if write_best:
        workspace.set_params(result.changes)
        workspace.commit(f"Hyperparameters of search {result.run_id[:8]}")
        note_written(settings, result)
    bring_to_bucket(settings, workspace)
    if json:
        print_json(result.as_dict() | {"written": write_best, "dvc_rev": workspace.rev()})
    else:
        _show(result, written=write_best)


def _start(
    settings: Settings,
    workspace: Workspace,
    labels: Labels,
    trials: int,
    concurrent: int | None,
    json: bool,
) -> SearchResult:
    from train.search import start_search

    params = load_params(workspace.folder / "params.yaml")
    search_space(params)  # what is wrong with it is said before anything starts
    prefix = "" if labels is Labels.ADJUDICATED else f"{labels.value}_"
    stage = f"{prefix}kfold_data_formatting"
    workspace.repro([stage], env=settings.environment())
    workspace.commit(f"Run {stage}")
    return start_search(
        settings,
        params,
        labels,
        workspace=workspace.folder,
        trials=trials,
        at_once=concurrent,
        console=err if json else out,
    )


def _show(result: SearchResult, *, written: bool) -> None:
    from train.search_results import BEST_PARAMS, PLOTS, RESULTS_CSV

    best = result.best
    out.print(
        f"Best of {len(result.trials)} trials: number {best.number}, "
        f"mAP50-95 {best.objective:.4f}, the mean over its folds.",
        highlight=False,
    )
    for name, value in result.changes.items():
        out.print(f"  {name}: {value}", highlight=False, markup=False)
    out.print(
        f"Results in {result.out / RESULTS_CSV}, plots in {result.out / PLOTS}.", highlight=False
    )
    if not best.objective:
        out.print(
            "No trial found anything, so they cannot be told apart: try more EPOCHS, or a lower "
            "train.nbs for few images.",
            style="yellow",
        )
    if written:
        out.print("Written to params.yaml and committed. Next: secondlook train kfold")
    else:
        out.print(
            f"The values are in {result.out / BEST_PARAMS}. To write them to params.yaml:\n"
            f"  secondlook train search --resume {result.run_id[:8]} --write-best",
            highlight=False,
        )

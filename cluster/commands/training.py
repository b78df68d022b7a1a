"""``secondlook init`` and ``secondlook train``: workspaces and the stages that run in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cluster.console import out, print_json
from cluster.context import JsonOption, settings_of
from loop.errors import InvalidInput
from loop.snapshots import Labels
from store.workspace import Workspace, init_workspace

group = typer.Typer(help="Run the training stages of this workspace.", no_args_is_help=True)

LabelsOption = Annotated[Labels, typer.Option(help="Whose answers to train on.")]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-S", metavar="NAME=VALUE", help="Change a parameter first."),
]


def add_to(app: typer.Typer) -> None:
    app.command()(init)
    app.add_typer(group, name="train")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty, or a workspace.")],
    json: JsonOption = False,
) -> None:
    """Make a workspace: a git + DVC folder with dvc.yaml and params.yaml."""
    workspace = init_workspace(folder)
    if json:
        print_json({"workspace": str(workspace.folder), "rev": workspace.rev()})
        return
    out.print(f"A workspace is in {workspace.folder}. Next:", highlight=False)
    out.print(f"  cd {folder}", highlight=False)
    out.print("  secondlook models register WEIGHTS.pt --alias champion   # if you have a model")
    out.print("  secondlook import DATASET --format voc|coco|yolo", markup=False)
    out.print("  dvc repro kfold_model_training")


@group.command()
def kfold(
    context: typer.Context,
    labels: LabelsOption = Labels.ADJUDICATED,
    set: ParamOption = None,
    json: JsonOption = False,
) -> None:
    """Snapshot, split into k folds and train them in parallel: the k-fold stages."""
    _repro(context, labels, "kfold_model_training", set, json)


@group.command()
def run(
    context: typer.Context,
    labels: LabelsOption = Labels.ADJUDICATED,
    set: ParamOption = None,
    json: JsonOption = False,
) -> None:
    """Snapshot, split into train and val and train once: the standard stages."""
    _repro(context, labels, "model_training", set, json)


def _repro(
    context: typer.Context, labels: Labels, stage: str, changes: list[str] | None, json: bool
) -> None:
    settings = settings_of(context)
    workspace = Workspace(Path.cwd())
    workspace.set_params(_parsed(changes or []))
    prefix = "" if labels is Labels.ADJUDICATED else f"{labels.value}_"
    workspace.repro([f"{prefix}{stage}"], env=settings.environment())
    rev = workspace.commit(f"Run {prefix}{stage}")
    if json:
        print_json({"stage": f"{prefix}{stage}", "dvc_rev": rev})
    else:
        out.print(f"Committed as {rev[:12]}.", highlight=False)


def _parsed(changes: list[str]) -> dict[str, Any]:
    parsed = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidInput(f"{change!r} is not NAME=VALUE.", hint="For example -S EPOCHS=50.")
        parsed[name] = yaml.safe_load(value)
    return parsed

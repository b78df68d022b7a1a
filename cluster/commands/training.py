"""``secondlook init`` and ``secondlook train``: workspaces and the stages that run in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cluster.commands import searching
from cluster.commands.parameters import LabelsOption, ParamOption, parsed
from cluster.console import out, print_json, print_table, when
from cluster.context import JsonOption, settings_of
from cluster.to_bucket import bring_to_bucket
from loop.errors import InvalidInput
from loop.snapshots import Labels
from store.settings import Settings
from store.workspace import Workspace, init_workspace
from train.resuming import Resumable, find_resumable, resumable

group = typer.Typer(help="Run the training stages of this workspace.", no_args_is_help=True)

ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[RUN]",
        help="Take up a training that was killed or interrupted, or failed: its MLflow run, the "
        "beginning of its id, or 'last'. Without RUN, list them.",
    ),
]


class _ResumeCommand(TyperCommand):
    """``--resume`` may stand without a value: it is empty then."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        if "--resume" in words:
            place = words.index("--resume") + 1
            if place == len(words) or words[place].startswith("-"):
                words.insert(place, "")
        return super().parse_args(ctx, words)


def add_to(app: typer.Typer) -> None:
    app.command()(init)
    searching.add_to(group)
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


@group.command(cls=_ResumeCommand)
def kfold(
    context: typer.Context,
    labels: LabelsOption = Labels.ADJUDICATED,
    set: ParamOption = None,
    resume: ResumeOption = None,
    json: JsonOption = False,
) -> None:
    """Snapshot, split into k folds and train them in parallel: the k-fold stages."""
    if resume is None:
        _repro(context, labels, "kfold_model_training", set, json)
    elif set:
        raise InvalidInput("A training is resumed as it was begun.", hint="Leave out --set.")
    else:
        _resume(context, resume, json)


@group.command(cls=_ResumeCommand)
def run(
    context: typer.Context,
    labels: LabelsOption = Labels.ADJUDICATED,
    set: ParamOption = None,
    resume: ResumeOption = None,
    json: JsonOption = False,
) -> None:
    """Snapshot, split into train and val and train once: the standard stages."""
    if resume is None:
        _repro(context, labels, "model_training", set, json)
    elif set:
        raise InvalidInput("A training is resumed as it was begun.", hint="Leave out --set.")
    else:
        _resume(context, resume, json)


@group.command()
def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="STAGE", help="A name from dvc.yaml.")],
    set: ParamOption = None,
    json: JsonOption = False,
) -> None:
    """Run one stage and what it needs, unless they are up to date."""
    _repro(context, Labels.ADJUDICATED, name, set, json)


def _repro(
    context: typer.Context, labels: Labels, stage: str, changes: list[str] | None, json: bool
) -> None:
    settings = settings_of(context)
    workspace = Workspace(Path.cwd())
    workspace.set_params(parsed(changes or []))
    prefix = "" if labels is Labels.ADJUDICATED else f"{labels.value}_"
    workspace.repro([f"{prefix}{stage}"], env=settings.environment())
    _commit(settings, workspace, f"{prefix}{stage}", json)


def _resume(context: typer.Context, run: str, json: bool) -> None:
    settings = settings_of(context)
    if not run:
        _list(resumable(settings), json)
        return
    found = find_resumable(settings, run)
    workspace = Workspace(found.workspace)
    env = settings.environment() | {"SECONDLOOK_RESUME": found.run_id}
    workspace.repro([found.stage], env=env, alone=True)
    _commit(settings, workspace, found.stage, json)


def _list(trainings: Sequence[Resumable], json: bool) -> None:
    if json:
        print_json([asdict(training) for training in trainings])
        return
    print_table(
        "Trainings that can be resumed",
        ("run", "stage", "started", "epochs of the folds", "ended", "workspace"),
        [
            (
                training.run_id[:8],
                training.stage,
                when(training.started_at),
                ", ".join(map(str, training.epochs.values())),
                training.failure,
                training.workspace,
            )
            for training in trainings
        ],
    )


def _commit(settings: Settings, workspace: Workspace, stage: str, json: bool) -> None:
    rev = workspace.commit(f"Run {stage}")
    bring_to_bucket(settings, workspace)
    if json:
        print_json({"stage": stage, "dvc_rev": rev})
    else:
        out.print(f"Committed as {rev[:12]}.", highlight=False)

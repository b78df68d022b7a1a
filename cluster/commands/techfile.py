"""``secondlook techfile``: the papers that go with a model, filled from what is on record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.console import out, print_json, print_table, progress
from cluster.context import JsonOption, engineer, settings_of, settings_to_read
from cluster.techfile_building import build as build_papers
from loop.errors import Conflict, Misconfigured
from loop.techfile_operator import FILE, template
from store.settings import Settings
from store.workspace import Workspace

group = typer.Typer(
    help="The papers that go with a model: technical documentation, model card, data set.",
    no_args_is_help=True,
)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(help="The workspace with the snapshot. Default: here, or the home's own."),
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="techfile")


@group.command()
def init(context: typer.Context, json: JsonOption = False) -> None:
    """Write techfile.yaml, to fill in what only you can say: into this workspace, or the home."""
    settings = settings_of(context)
    folder = _here() or settings.home
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise Conflict(
            f"{path} is there already.", hint="Fill it in, or move it away and begin again."
        ) from None
    if json:
        print_json({"file": str(path)})
    else:
        out.print(f"Fill in {path}; then: secondlook techfile build MODEL", highlight=False)


@group.command()
def build(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL[:VERSION]", help="As detector:3, or detector:champion."),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="A new folder. Default: in HOME/papers.")
    ] = None,
    operator: Annotated[
        Path | None,
        typer.Option(help=f"Another {FILE} than that of the workspace, or of the home."),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Write the technical documentation of a model (EU AI Act, Annex IV) with its evidence.

    It produces evidence for an assessment. What is not on record is listed as a gap.
    """
    settings = settings_to_read(context)
    with progress("Gathering what is on record") as step:
        built = build_papers(
            settings,
            model,
            actor=engineer(settings),
            out=folder.absolute() if folder else None,
            operator_file=operator,
            workspaces=_workspaces(settings, workspace),
            step=step,
        )
    gaps = [
        {"point": section.number, "what": gap.what, "how": gap.how} for section, gap in built.gaps
    ]
    if json:
        print_json(
            {
                "model": built.model.as_dict(),
                "folder": str(built.folder),
                "files": built.files,
                "events": built.events,
                "gaps": gaps,
            }
        )
        return
    print_table("Gaps", ["point", "not recorded", "how"], [tuple(gap.values()) for gap in gaps])
    out.print(
        f"{', '.join(built.files)} and {built.events} events with their proofs are in "
        f"{built.folder}.",
        highlight=False,
    )


def _here() -> Path | None:
    """The current folder if it is a workspace."""
    try:
        return Workspace(Path.cwd()).folder
    except Misconfigured:
        return None


def _workspaces(settings: Settings, named: Path | None) -> list[Path]:
    if named is not None:
        return [Workspace(named).folder]
    found = [_here(), settings.workspace, settings.home / "workspace"]
    return [folder for folder in found if folder is not None]

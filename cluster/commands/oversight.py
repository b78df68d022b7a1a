"""``secondlook oversight``: how people oversee the model, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.console import out, print_json
from cluster.context import JsonOption, settings_of
from cluster.oversight import build_oversight
from loop.events import Role
from store.audit_log import open_audit_log
from store.unit_of_work import open_units_of_work

group = typer.Typer(help="How people oversee the model.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="oversight")


@group.callback()
def oversight() -> None:
    """How people oversee the model."""


@group.command()
def report(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="From this day on: 2026-01-31. Default: all.")] = "",
    until: Annotated[str, typer.Option(help="Before this day. Default: now.")] = "",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to. Default: reports/oversight in the home.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """What reviewers were shown, time spent, overrides, and whether seeing the model leads them.

    As HTML, Markdown and JSON; shares of fewer than 10 are left out.
    """
    settings = settings_of(context)
    built = build_oversight(
        open_units_of_work(settings),
        open_audit_log(settings),
        folder or settings.home / "reports" / "oversight",
        since=since,
        until=until,
        actor=settings.acting(Role.ENGINEER),
    )
    if json:
        files = {kind: str(path) for kind, path in built.files.items()}
        print_json({"files": files, "gaps": built.gaps, **built.found.as_dict()})
        return
    for path in built.files.values():
        out.print(str(path), markup=False, highlight=False)
    for gap in built.gaps:
        out.print(f"Gap: {gap}", markup=False)

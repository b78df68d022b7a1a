"""``secondlook audit trace``: what something was made of, or what was made of it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from cluster.auditing import open_tracing
from cluster.console import out, print_json, when
from cluster.context import JsonOption, settings_to_read
from loop.tracing import Found, Step
from store.audit_log import index_or_id
from store.unit_of_work import open_units_of_work


def add_to(group: typer.Typer) -> None:
    group.command()(trace)


def trace(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="An entry's index or id, or request=…, prediction=…, case=…, image=…, "
            "correction=…, annotation=…, model=NAME/VERSION, run=…, snapshot=…"
        ),
    ],
    forward: Annotated[
        bool, typer.Option("--forward", help="What was made of it, not what it was made of.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Follow a detection, an answer or a model through the log, back to its sources or forward.

    An image is found by its id, through its salt in the database. What is not on record is named.
    """
    settings = settings_to_read(context)
    tracing = open_tracing(settings, open_units_of_work(settings))
    kind, equals, value = what.partition("=")
    if equals:
        step = tracing.of(kind, value, forward=forward)
    else:
        step = tracing.of_event(index_or_id(what), forward=forward)
    if json:
        print_json(step.as_dict())
    else:
        out.print(_tree(step), highlight=False)


def _tree(step: Step, parent: Tree | None = None) -> Tree:
    label = Text(step.title, style="bold")
    branch = parent.add(label) if parent else Tree(label)
    if step.note:
        branch.add(Text(step.note, style="dim"))
    for gap in step.gaps:
        branch.add(Text.assemble(("Gap: ", "bold yellow"), gap))
    for found in step.events:
        branch.add(_line(found))
    for below in step.steps:
        _tree(below, branch)
    return branch


def _line(found: Found) -> Text:
    event = found.event
    outcome = "" if event.outcome.value == "done" else f", {event.outcome}"
    by = f" by {event.actor.pseudonym}"
    return Text(f"{found.index}  {when(event.at)}  {event.type}{outcome}{by}")

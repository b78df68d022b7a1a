"""``secondlook audit``: read and verify the record."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.console import out, print_json, print_table, when
from cluster.context import JsonOption, settings_to_read
from store.audit_log import Entry, open_audit_log

group = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="audit")


@group.command()
def tail(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many events.")] = 20,
    json: JsonOption = False,
) -> None:
    """The latest events, oldest first."""
    entries = open_audit_log(settings_to_read(context)).tail(count)
    if json:
        print_json([_as_dict(entry) for entry in entries])
        return
    print_table(
        "Audit log",
        ["index", "at", "event", "actor", "role", "outcome", "reason"],
        [
            (
                entry.index,
                when(entry.event.at),
                entry.event.type,
                entry.event.actor.pseudonym,
                entry.event.actor.role,
                entry.event.outcome,
                entry.event.reason,
            )
            for entry in entries
        ],
    )


@group.command()
def show(
    context: typer.Context,
    event: Annotated[str, typer.Argument(help="An index, or an event's id.")],
    json: JsonOption = False,
) -> None:
    """One event, whole."""
    log = open_audit_log(settings_to_read(context))
    entry = log.get(int(event) if event.isdigit() else event)
    if json:
        print_json(_as_dict(entry))
    else:
        out.print_json(data=_as_dict(entry))


@group.command()
def verify(context: typer.Context, json: JsonOption = False) -> None:
    """Recompute the whole chain. Exit code 1 names the first bad entry and what is wrong."""
    log = open_audit_log(settings_to_read(context))
    verified = log.verify()
    if json:
        print_json({"verified": True, "events": verified.size, "root": verified.root})
    else:
        out.print(f"Verified: {verified.size} events, root {verified.root}.", highlight=False)


def _as_dict(entry: Entry) -> dict[str, object]:
    return {
        "index": entry.index,
        "leaf_sha256": entry.leaf_sha256,
        "event": entry.event.as_dict(),
    }

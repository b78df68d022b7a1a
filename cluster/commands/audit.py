"""``secondlook audit``: read the record, verify it, prove what is in it, and take it away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import (
    audit_runs,
    audit_serve,
    audit_timestamps,
    audit_trace,
    audit_witness,
)
from cluster.commands.audit_options import (
    KeyOption,
    TsaRootsOption,
    WitnessOption,
    as_time,
    log_key,
    witness_keys,
)
from cluster.console import out, print_json, print_table, progress, when
from cluster.context import JsonOption, settings_of, settings_to_read
from loop.errors import InvalidInput
from loop.event_query import EventQuery
from loop.events import Role
from store.audit_log import Entry, index_or_id, open_audit_log
from store.log_checks import check_log
from store.log_export import export_log, exported
from store.timestamps import load_roots
from store.unit_of_work import open_units_of_work

group = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)

EventArgument = Annotated[str, typer.Argument(help="An index, or an event's id.")]


def add_to(app: typer.Typer) -> None:
    audit_runs.add_to(group)
    audit_serve.add_to(group)
    audit_trace.add_to(group)
    audit_witness.add_to(group)
    app.add_typer(group, name="audit")


@group.command()
def tail(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many events.")] = 20,
    type: Annotated[
        list[str] | None,
        typer.Option(help="Only such: fold.ended, or fold for all of them. Repeatable."),
    ] = None,
    about: Annotated[
        list[str] | None,
        typer.Option(
            help="Only what names this, as KIND=VALUE: person=…, case=…, model=NAME/VERSION, "
            "run=…, request=…, snapshot=… Repeatable."
        ),
    ] = None,
    since: Annotated[str, typer.Option(help="From this time on: 2026-11-30, or more of it.")] = "",
    until: Annotated[str, typer.Option(help="Before this time.")] = "",
    json: JsonOption = False,
) -> None:
    """The latest events, oldest first."""
    query = EventQuery(tuple(map(_reference, about or ())), tuple(type or ()), since, until)
    entries = open_audit_log(settings_to_read(context)).find(query, limit=count)
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
def show(context: typer.Context, event: EventArgument, json: JsonOption = False) -> None:
    """One event, whole."""
    entry = open_audit_log(settings_to_read(context)).get(index_or_id(event))
    if json:
        print_json(_as_dict(entry))
    else:
        out.print_json(data=_as_dict(entry))


@group.command()
def key(context: typer.Context, json: JsonOption = False) -> None:
    """The log's public key: give it to auditors and witnesses, over another way than the log."""
    found = open_audit_log(settings_to_read(context)).public_key()
    if json:
        print_json({"key": str(found)})
    else:
        out.print(str(found), highlight=False, markup=False)


@group.command()
def verify(
    context: typer.Context,
    key: KeyOption = None,
    witness: WitnessOption = None,
    tsa_roots: TsaRootsOption = None,
    json: JsonOption = False,
) -> None:
    """Check the whole log: every entry, every hash, signatures, timestamps, the database's copy.

    Exit code 1 names the first bad entry and what is wrong with it.
    """
    settings = settings_to_read(context)
    if tsa_roots is not None:
        load_roots(tsa_roots)  # a file that is none says nothing of the log
        settings = settings.model_copy(update={"audit_tsa_roots": tsa_roots})
    log = open_audit_log(settings)
    own = log_key(settings, key) if key else None
    witnesses = witness_keys(witness)
    with progress("Verifying the audit log") as step:
        verified = check_log(
            log,
            open_units_of_work(settings),
            settings.acting(Role.AUDITOR),
            own,
            witnesses,
            step,
            witnessed=bool(settings.audit_witnesses),
        )
    if json:
        print_json(
            {
                "verified": True,
                "events": verified.size,
                "purged": verified.purged,
                "root": verified.root,
                "cosigned": {name: as_time(at) for name, at in verified.cosigned.items()},
                "seen_by_witnesses": verified.seen,
                "timestamps": audit_timestamps.as_dict(verified.stamped),
            }
        )
        return
    out.print(f"Verified: {verified.size} events, root {verified.root}.", highlight=False)
    if verified.purged:
        out.print(
            f"The first {verified.purged} entries were purged, which is on record: their hashes "
            "were checked, their words are gone.",
            highlight=False,
        )
    for name, at in verified.cosigned.items():
        out.print(f"Cosigned by {name} at {as_time(at)}.", highlight=False, markup=False)
    for name, size in verified.seen.items():
        out.print(
            f"It goes on from the {size} entries that {name} has cosigned.",
            highlight=False,
            markup=False,
        )
    audit_timestamps.tell(verified.stamped)
    if key is None:
        out.print(
            "With the key that lies in this home: who holds it could have written the log anew. "
            "Give the key that you noted with --key, and a witness's with --witness.",
            style="dim",
        )


@group.command()
def prove(
    context: typer.Context,
    event: EventArgument,
    to: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the two files go.")
    ] = Path(),
    json: JsonOption = False,
) -> None:
    """Write an event and the proof that it is in the log: EVENT.json and EVENT.tlog-proof.

    Whoever has the log's public key can check them without the log, with the verify.py of
    `audit export`: python verify.py --key KEY proof EVENT.json EVENT.tlog-proof
    """
    log = open_audit_log(settings_to_read(context))
    entry = log.get(index_or_id(event))
    proof = log.prove(entry.index)
    to.mkdir(parents=True, exist_ok=True)
    files = to / f"{entry.event.id}.json", to / f"{entry.event.id}.tlog-proof"
    files[0].write_bytes(entry.data)
    files[1].write_text(str(proof))
    if json:
        print_json({"event": str(files[0]), "proof": str(files[1]), "index": entry.index})
    else:
        out.print(f"Wrote {files[0]} and {files[1]}.", highlight=False, markup=False)


@group.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    json: JsonOption = False,
) -> None:
    """Copy the log into a folder that an auditor can take away, with a script that verifies it.

    The script needs Python and the package cryptography, and nothing of Second Look.
    """
    settings = settings_to_read(context)
    log = open_audit_log(settings)
    with progress("Exporting the audit log") as step:
        verified = export_log(log, folder, step)
    with open_units_of_work(settings)() as uow:
        uow.record(exported(verified.size, verified.root, settings.acting(Role.AUDITOR)))
        uow.commit()
    if json:
        print_json({"folder": str(folder), "events": verified.size, "root": verified.root})
    else:
        out.print(
            f"Wrote {verified.size} events to {folder}. To check them there: python verify.py",
            highlight=False,
            markup=False,
        )


@group.command()
def reindex(context: typer.Context, json: JsonOption = False) -> None:
    """Make the database's copy of the log anew from the log's files, which are verified first.

    For after a backup was restored that does not fit the log's files, or when `audit verify` says
    that the database differs from them. The log itself only grows: this is on record in it.
    """
    log = open_audit_log(settings_of(context))
    with progress("Reading the audit log") as step:
        verified = log.reindex(step)
    if json:
        print_json({"events": verified.size, "root": verified.root})
    else:
        out.print(f"The database has the {verified.size} events of the log's files.")


def _reference(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    if not kind or not equals or not value:
        raise InvalidInput(f"{text!r} names nothing.", hint="Give it as KIND=VALUE: case=1a2b…")
    return kind, value


def _as_dict(entry: Entry) -> dict[str, object]:
    return {
        "index": entry.index,
        "leaf_sha256": entry.leaf_sha256,
        "event": entry.event.as_dict(),
    }

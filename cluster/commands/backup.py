"""``secondlook backup`` and ``restore``: a copy of the home to keep elsewhere, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.console import err, out, print_json, progress
from cluster.context import JsonOption, settings_of
from cluster.running import find_alive
from loop.errors import Conflict
from loop.events import Role
from store.backup import make_backup, restore_backup


def add_to(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, on another disk.")],
    dump: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With PostgreSQL: what pg_dump wrote just before."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Copy the home into a folder while it is in use: database, images, MLflow, log and keys.

    The keys are in it: keep it as you keep them. docs/operations.md says what belongs to it
    that lies elsewhere, and how to restore it.
    """
    settings = settings_of(context)
    made = make_backup(settings, folder, dump=dump, actor=settings.acting(Role.ADMIN))
    if json:
        print_json(
            {
                "folder": str(folder),
                "made_at": made.made_at,
                "files": len(made.files),
                "bytes": made.bytes,
                "events": made.entries,
                "without": list(made.without),
            }
        )
        return
    out.print(
        f"Copied {len(made.files)} files ({made.bytes / 1e6:.1f} MB) and a log of {made.entries} "
        f"events to {folder}. The home's keys are among them: keep it private.",
        highlight=False,
        markup=False,
    )
    for each in made.without:
        err.print(f"Not in it: {each}", highlight=False, markup=False)


def restore(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="What `secondlook backup` made.")],
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A newer copy of the folder log/: the old disk's, or a mirror."
        ),
    ] = None,
    without_witnesses: Annotated[
        bool,
        typer.Option(
            "--without-witnesses", help="Do not ask the witnesses whether they have seen more."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make an empty home of a backup, and verify it. Nothing is restored over what is there.

    With PostgreSQL, pg_restore comes first: docs/operations.md.
    """
    settings = settings_of(context)
    if find_alive(settings) is not None:
        raise Conflict("Second Look is up in this home.", hint="secondlook down")
    with progress("Verifying the audit log") as step:
        done = restore_backup(
            settings,
            folder,
            actor=settings.acting(Role.ADMIN),
            log_folder=log,
            ask_witnesses=not without_witnesses,
            progress=step,
        )
    if json:
        print_json(
            {
                "home": str(settings.home),
                "events": done.entries,
                "root": done.root,
                "events_the_database_lacked": done.added,
                "images": done.images,
                "missing_images": list(done.missing),
            }
        )
        return
    out.print(
        f"Restored to {settings.home}: a log of {done.entries} events, verified, and "
        f"{done.images} images.",
        highlight=False,
        markup=False,
    )
    if done.added:
        err.print(
            f"{done.added} events are in the log that the database had not seen: what they say was "
            "done since the backup is not in it. secondlook audit tail shows them.",
            highlight=False,
        )
    for each in done.missing:
        err.print(f"The bytes of image {each} are not in the backup.", highlight=False)

"""``secondlook audit witness``: a process of its own that cosigns only what grows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.console import err, out, print_json
from cluster.context import JsonOption
from loop.signed_notes import VerifierKey
from store.witness_state import open_witness, witness_signer


def add_to(group: typer.Typer) -> None:
    group.command("witness")(witness)


def witness(
    home: Annotated[
        Path, typer.Option(help="The witness's own folder: its key, and what it has cosigned.")
    ] = Path("witness"),
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="The public key of a log to cosign. May be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8266,
    name: Annotated[
        str, typer.Option(help="For a new key. Default: this machine's name, and /witness.")
    ] = "",
    print_key: Annotated[
        bool, typer.Option("--print-key", help="Make the key if there is none, print it, end.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Cosign checkpoints of logs that only grow, until it is ended (Ctrl-C).

    Run it where whoever runs the log cannot write, best on another machine and by somebody else:
    then nobody can set the log back, or show it differently to different people, unnoticed.
    SECONDLOOK_AUDIT_WITNESSES tells the log of it; docs/audit-witness.md has the rest.
    """
    if print_key:
        key = str(witness_signer(home, name).key)
        if json:
            print_json({"key": key})
        else:
            out.print(key, highlight=False, markup=False)
        return
    logs = [VerifierKey.parse(each) for each in log or []]
    from cluster.witness import listen, serve  # a web server, which no other command waits for

    with open_witness(home, logs, name) as opened:
        listener, url = listen(host, port)
        if json:
            print_json({"url": url, "key": str(opened.key), "logs": [each.name for each in logs]})
            sys.stdout.flush()  # whoever reads this waits for it, and the process stays
        else:
            out.print(f"Witness at {url}, with the key", highlight=False)
            out.print(str(opened.key), highlight=False, markup=False)
        if not logs:
            err.print("It knows no log yet, and cosigns nothing: name one with --log KEY.")
        serve(opened, listener)

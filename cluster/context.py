"""What every command is given: the settings, who acts, and how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cluster.console import err
from cluster.service import service_swap
from cluster.service_address import find_service
from cluster.trials import RunningTrials
from loop.events import Actor, Role
from loop.promoting import Swap
from store.settings import Settings, load_settings

DEMO_HOME = Path("demo")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@dataclass(slots=True)
class CommandLine:
    """The options that stand before the command."""

    home: Path | None = None


def settings_of(context: typer.Context) -> Settings:
    command_line: CommandLine = context.find_root().obj or CommandLine()
    return load_settings(command_line.home)


def settings_to_read(context: typer.Context) -> Settings:
    """As `settings_of`; but where no home was named and the default one holds nothing yet, the
    demo's, if there is one: who has just run `make demo` wants to look at that."""
    settings = settings_of(context)
    named = (context.find_root().obj or CommandLine()).home or os.environ.get("SECONDLOOK_HOME")
    if named or settings.database_url or (settings.home / "secondlook.db").exists():
        return settings
    demo = settings.home / DEMO_HOME
    if not (demo / "secondlook.db").exists():
        return settings
    err.print(f"{settings.home} holds nothing yet: showing the demo's home, {demo}.", style="dim")
    return load_settings(demo)


def demo_settings(settings: Settings) -> Settings:
    """Of the demo's home below that of ``settings``, where programs on this machine need no API
    key, unless ``SECONDLOOK_API_OPEN_ON_LOOPBACK`` says otherwise."""
    settings = load_settings(settings.home / DEMO_HOME)
    if "api_open_on_loopback" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"api_open_on_loopback": True})


def engineer(settings: Settings) -> Actor:
    """Whoever types the command, by the pseudonym in ``SECONDLOOK_ACTOR``."""
    return settings.acting(Role.ENGINEER)


def running_trials(settings: Settings) -> RunningTrials | None:
    """How to try a candidate in the service of this home; None if none is known."""
    service = find_service(settings)
    return RunningTrials(settings, service.dashboard_url, service.api_url) if service else None


def running_swap(settings: Settings) -> Swap | None:
    """How to swap a model into the service of this home; None if none is known."""
    service = find_service(settings)
    return service_swap(settings, service.dashboard_url, service.api_url) if service else None

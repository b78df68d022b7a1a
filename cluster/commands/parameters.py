"""Options of the commands that train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
import yaml

from loop.errors import InvalidInput
from loop.snapshots import Labels

LabelsOption = Annotated[Labels, typer.Option(help="Whose answers to train on.")]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-S", metavar="NAME=VALUE", help="Change a parameter first."),
]


def parsed(changes: Sequence[str]) -> dict[str, Any]:
    """Values by name, read as YAML. Raises `InvalidInput` for what is not ``NAME=VALUE``."""
    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidInput(f"{change!r} is not NAME=VALUE.", hint="For example -S EPOCHS=50.")
        found[name] = yaml.safe_load(value)
    return found

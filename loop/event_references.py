"""What an event is about, as pairs by which it is found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loop.events import Event

# The words of the house for what events call otherwise.
_KINDS = {"review": "case", "mlflow_run": "run", "fold_run": "run", "person": "person"}
_SUFFIXES = ("_id", "_sha256")
# Names of fields whose values are references without such an ending.
_PLAIN = ("person", "image", "stage", "cause")
_LONGEST = 200


def references(event: Event) -> set[tuple[str, str]]:
    """(kind, value): ``("case", id)``, ``("model", "name/version")``, ``("run", id)``, ``("image",
    commitment)``, and so on for whatever subject, inputs and outputs name by an id or digest."""
    raw = event.as_dict()
    found = {("person", event.actor.pseudonym)}
    for part in ("subject", "inputs", "outputs"):
        found.update(_in(raw.get(part, {})))
    for kind in ("cause", "request_id", "run_id"):
        if raw.get(kind):
            found.add((_kind(kind), raw[kind]))
    return {(kind, value) for kind, value in found if len(value) <= _LONGEST}


def _in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if {"name", "version"} <= value.keys():
            yield "model", f"{value['name']}/{value['version']}"
        for key, below in value.items():
            yield from _in(below, str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _in(each, name)
    elif isinstance(value, str) and value:
        kind = _kind(name)
        if kind:
            yield kind, value


def _kind(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            kind = name.removesuffix(suffix)
            return _KINDS.get(kind, kind)
    return name if name in _PLAIN else ""

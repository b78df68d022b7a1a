"""What an event is about, as pairs by which it is found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loop.events import Event

# The words of the house for what fields of events call otherwise.
_KINDS = {
    "review": "case",
    "mlflow_run": "run",
    "fold_run": "run",
    "request_id": "request",
    "images": "image",
    "added": "image",
}
_SUFFIXES = ("_id", "_sha256")
# Fields whose values are references without such an ending.
_PLAIN = ("person", "image", "images", "added", "dataset", "stage", "cause")
_LONGEST = 200


def references(event: Event) -> set[tuple[str, str]]:
    """(kind, value): ``("case", id)``, ``("model", "name/version")``, ``("run", id)``, ``("image",
    commitment)``, and so on for whatever subject, inputs and outputs name by an id or digest."""
    raw = event.as_dict()
    found = {("person", event.actor.pseudonym), *_in(event.subject)}
    for part in (event.inputs, event.outputs):
        found.update((_kind(name) or name, value) for name, value in part.items())
    for name in ("cause", "request_id", "run_id"):
        found.add((_kind(name), raw.get(name) or ""))
    return {(kind, value) for kind, value in found if 0 < len(value) <= _LONGEST}


def _in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if {"name", "version"} <= value.keys():
            yield "model", f"{value['name']}/{value['version']}"
        for key, below in value.items():
            yield from _in(below, str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _in(each, name)
    elif isinstance(value, str) and _kind(name):
        yield _kind(name), value


def _kind(name: str) -> str:
    """Empty for a field that holds no reference."""
    if name in _KINDS:
        return _KINDS[name]
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            kind = name.removesuffix(suffix)
            return _KINDS.get(kind, kind)
    return name if name in _PLAIN else ""

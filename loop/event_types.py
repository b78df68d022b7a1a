"""The types of events, a JSON Schema (2020-12) each, and the check that an event fits its own.

The schemas are files that are published with the package, ``loop/event_schemas/TYPE.json``: any
JSON Schema validator can read them, each by itself. What all types have in common is repeated in
each, and a test keeps it the same. docs/audit-events.md lists them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema_rs import Draft202012Validator

from loop.errors import InvalidInput

_FOLDER = files("loop") / "event_schemas"
_TYPE = re.compile(r"[a-z_]+\.[a-z_]+")
_HINT = "The types and what each of them carries: docs/audit-events.md."

_added: dict[str, dict[str, Any]] = {}


def event_types() -> list[str]:
    """Sorted."""
    return sorted(each.name.removesuffix(".json") for each in _FOLDER.iterdir() if _is_schema(each))


def schema_of(type: str) -> dict[str, Any]:
    """Raises `InvalidInput` for a type that has none."""
    if type in _added:
        return _added[type]
    path = _FOLDER / f"{type}.json"
    if not _TYPE.fullmatch(type) or not path.is_file():
        raise InvalidInput(f"There is no type of event {type!r}.", hint=_HINT)
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def add_type(type: str, schema: dict[str, Any]) -> None:
    """A type that is not published, for as long as this process lives: tests record such."""
    _added[type] = schema
    _validator.cache_clear()


def check_event(values: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` unless ``values``, an `Event.as_dict`, are what their type's schema
    says; the message names the type, the place and what is wrong there."""
    type = values["type"]
    found = next(_validator(type).iter_errors(values), None)
    if found is not None:
        place = "/".join(str(step) for step in found.instance_path) or "the event"
        raise InvalidInput(f"Not an event {type}: {place}: {_told(found.message)}.", hint=_HINT)


@cache
def _validator(type: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(type))


def _told(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:300]}…"


def _is_schema(entry: Any) -> bool:
    return str(entry.name).endswith(".json")

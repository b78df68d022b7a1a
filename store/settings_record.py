"""The settings in force, on record: which of them are others than before, and no secret."""

from __future__ import annotations

import hashlib
import re

from pydantic import SecretStr

from loop.events import Event, Role, canonical_json
from loop.ports import UnitsOfWork
from store.settings import Settings

# Who starts something, and which run it takes up, is said by what is started.
_NOT_SETTINGS = frozenset({"actor", "actor_authenticated_by", "job", "resume"})
# `//user:password@` in a URL.
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*@")


def note_settings(settings: Settings, units: UnitsOfWork) -> list[str]:
    """Record ``settings.changed`` with the names of those that differ from what was recorded last;
    all of them the first time. Returns the names; where there are none, nothing is recorded.

    A secret counts as set or not set: a new one in the place of another is no change here.
    """
    values = shown(settings)
    with units() as uow:
        before = uow.settings_in_force.find()
        known = before or {}
        names = sorted(values.keys() | known.keys())
        changed = [name for name in names if values.get(name) != known.get(name)]
        if not changed:
            return []
        uow.settings_in_force.put(values)
        uow.record(
            Event(
                type="settings.changed",
                actor=settings.acting(Role.SYSTEM),
                subject={"settings_sha256": _sha256(values)},
                details={
                    "changed": changed,
                    "before_sha256": None if before is None else _sha256(before),
                },
            )
        )
        uow.commit()
    return changed


def shown(settings: Settings) -> dict[str, str]:
    """Every setting in words, by name, without secrets and passwords."""
    return {
        name: _shown(getattr(settings, name))
        for name in sorted(type(settings).model_fields)
        if name not in _NOT_SETTINGS
    }


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else ""
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return _CREDENTIALS.sub("…@", str(value))


def _sha256(values: dict[str, str]) -> str:
    return hashlib.sha256(canonical_json(values)).hexdigest()

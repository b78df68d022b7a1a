"""The API key with which a home's own parts, the app first of all, use its API."""

from __future__ import annotations

from pathlib import Path

from loop.api_keys import Scope, is_key, key_id
from loop.events import Role
from loop.managing_keys import ManageApiKeys
from loop.ports import UnitsOfWork
from store.private_files import write_private
from store.settings import Settings

_LABEL = "this installation's app and command line"


def ensure_own_key(settings: Settings, units: UnitsOfWork) -> None:
    """See that ``keys/api.key`` holds a good key: a new one if there is none, if the database
    does not know it, and if it was revoked."""
    text = own_key(settings)
    with units() as uow:
        found = uow.api_keys.find(key_id(text) or "")
    if found is not None and is_key(text, found[0]) and not found[0].revoked_at:
        return
    # Whoever starts the parts of a home can read its database as well.
    actor = settings.acting(Role.ADMIN)
    _, text = ManageApiKeys(units).create(_LABEL, Scope, actor=actor)
    write_private(_path(settings), f"{text}\n".encode("ascii"))


def api_headers(settings: Settings) -> dict[str, str]:
    """What a request to the API carries: ``SECONDLOOK_API_KEY``, or else the home's own key;
    nothing where there is neither."""
    text = settings.api_key.get_secret_value() or own_key(settings)
    return {"authorization": f"Bearer {text}"} if text else {}


def _path(settings: Settings) -> Path:
    return settings.home / "keys" / "api.key"


def own_key(settings: Settings) -> str:
    """The home's own; empty if there is none yet."""
    try:
        return _path(settings).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return ""

"""Files of keys: for their owner alone from the first byte on, and whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_OWNER_ONLY = 0o600


def write_private(path: Path, content: bytes, mode: int = _OWNER_ONLY) -> None:
    """Put ``content`` in place of what is at ``path``, in one step."""
    _draft(path, content, mode).replace(path)


def write_private_once(path: Path, content: bytes) -> None:
    """As `write_private`, but what is there stays: of two processes that do this at once, the
    first one's content does."""
    draft = _draft(path, content, _OWNER_ONLY)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _draft(path: Path, content: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft

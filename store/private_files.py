"""Files for their owner alone, from the first byte on, and whole or not there: keys, and what is
run without a signature."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from loop.errors import Misconfigured

_OWNER_ONLY = 0o600
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


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


def private_folder(folder: Path, *, named_by: str = "SECONDLOOK_MACHINE_CACHE") -> Path:
    """Make ``folder`` for its owner alone. Raises `Misconfigured` if it is there already and is
    somebody else's, or others may write to it; ``named_by`` is how one names another."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        raise Misconfigured(
            f"Others may write to {folder}, which holds what is run here.",
            hint=f"chmod go-w {folder}, or name a folder of your own: {named_by}.",
        )
    folder.chmod(0o700)  # what is made below it may be open to others, by the umask
    return folder


def _draft(path: Path, content: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft

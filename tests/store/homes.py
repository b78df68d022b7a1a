"""Several processes' homes at one database and one bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from loop.signed_notes import VerifierKey
from store.audit_log import AuditLog, LogBucket
from store.log_files import LogFiles
from store.log_key import LogKey, elsewhere_key_path
from store.log_role import LogRole
from store.objects import Objects


def log_of(
    home: Path,
    engine: Engine,
    objects: Objects | None,
    role: LogRole,
    key: VerifierKey | None = None,
) -> AuditLog:
    return AuditLog(
        engine,
        LogFiles(home / "log"),
        LogKey(home / "keys" / "log.key"),
        role=role,
        bucket=LogBucket(objects, elsewhere_key_path(home), key),
    )


class FailingObjects:
    """Passes on what it is asked for until call number ``step`` that changes something, which
    raises instead: before it does anything, or after."""

    def __init__(self, objects: Any, step: int, error: BaseException, *, after: bool) -> None:
        self._objects, self._error, self._after = objects, error, after
        self._left = step
        self.failed = False

    def __str__(self) -> str:
        return str(self._objects)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._objects, name)
        if name not in ("put", "put_new", "delete"):
            return found

        def act(*arguments: Any) -> Any:
            self._left -= 1
            if self._left != -1:
                return found(*arguments)
            self.failed = True
            if self._after:
                found(*arguments)
            raise self._error

        return act


def small_changes(before: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """``before`` with one byte of one object changed, by which object: for each of them."""
    found = {}
    for name, data in before.items():
        at = len(data) // 2
        found[name] = {**before, name: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}
    return found

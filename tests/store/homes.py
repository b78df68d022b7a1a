"""Several processes' homes at one database and one bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from loop.errors import NotFound
from loop.signed_notes import VerifierKey
from store.audit_log import AuditLog, LogBucket
from store.log_files import LogFiles
from store.log_key import LogKey, elsewhere_key_path
from store.log_role import LogRole
from store.objects import ObjectInfo, Objects


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


class MemoryObjects:
    """Implements `Objects` in memory."""

    def __init__(self, held: dict[str, bytes] | None = None) -> None:
        self.held = {} if held is None else held

    def __str__(self) -> str:
        return "s3://memory"

    def now(self) -> datetime:
        return datetime.now(UTC)

    def put(self, key: str, data: bytes) -> None:
        self.held[key] = data

    def put_new(self, key: str, data: bytes) -> bool:
        return self.held.setdefault(key, data) is data

    def put_file(self, key: str, path: Path) -> None:
        self.held[key] = path.read_bytes()

    def get(self, key: str) -> bytes:
        if key not in self.held:
            raise NotFound(f"There is no {key}.")
        return self.held[key]

    def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key))

    def info(self, key: str) -> ObjectInfo | None:
        data = self.held.get(key)
        return None if data is None else ObjectInfo(key, len(data), datetime.now(UTC))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self.held):
            if key.startswith(prefix):
                yield ObjectInfo(key, len(self.held[key]), datetime.now(UTC))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.held.pop(key, None)

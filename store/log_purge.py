"""Which of the log's entries are past their retention, and their removal.

Whole bundles at the log's beginning go, and their rows in the database. The tiles of hashes stay:
what is left verifies, and proofs of what is gone do too.
"""

from __future__ import annotations

from loop.merkle import HASH_BYTES, root_hash
from loop.retention import LogSpan
from loop.tiles import WIDTH, Tile, nodes_in
from store.audit_log import AuditLog


class PurgeableFiles:
    """Implements `loop.retention.PurgeableLog`."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def check(self) -> None:
        self._log.check_here()
        self._log.verify()

    def due(self, before: str) -> LogSpan | None:
        self._log.integrate()
        rows, size = self._log.rows, self._log.rows.state().head.size
        first_kept = rows.first_since(before)
        end = (size if first_kept is None else first_kept) // WIDTH * WIDTH
        begin = self._log.purged()
        if end <= begin:
            return None
        return LogSpan(begin, end - 1, self._root(end, size))

    def left_over(self) -> bool:
        end = self._log.purged()
        return len(self._log.files.missing(end)) * WIDTH < end

    def drop(self) -> None:
        end = self._log.purged()
        self._log.rows.drop(end)  # first: see `AuditLog._check_copy`
        self._log.files.drop_entries(end)

    def settle(self) -> None:
        self._log.integrate()

    def _root(self, end: int, size: int) -> str:
        """Of the tree of the entries before number ``end``, by which whoever has a copy of them can
        tell that it is one."""

        def read(tile: Tile) -> bytes:
            # A narrower tile than the log's newest one may not be there any more.
            width = min(WIDTH, size // WIDTH**tile.level - tile.index * WIDTH)
            newest = self._log.reader().tile(Tile(tile.level, tile.index, width))
            return newest[: tile.width * HASH_BYTES]

        return root_hash(end, nodes_in(read, end)).hex()

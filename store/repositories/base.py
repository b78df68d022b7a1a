"""What every repository does with its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, Table, func, insert, select

from store.transaction import Transaction


class Repository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def _insert(self, table: Table, **values: Any) -> None:
        self._transaction.write(insert(table).values(**values))

    def _all(self, query: Select[Any]) -> Sequence[RowMapping]:
        return self._transaction.read(query)

    def _one(self, query: Select[Any]) -> RowMapping | None:
        rows = self._transaction.read(query)
        return rows[0] if rows else None

    def _count(self, table: Table) -> int:
        query = select(func.count().label("count")).select_from(table)
        return int(self._transaction.read(query)[0]["count"])

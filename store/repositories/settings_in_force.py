"""The settings that were recorded last."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, update

from store import tables
from store.repositories.base import Repository

# There is one row.
_HOME = "home"


class SqlSettingsInForce(Repository):
    def find(self) -> dict[str, str] | None:
        table = tables.settings_in_force
        row = self._one(select(table.c.document).where(table.c.scope == _HOME))
        return dict(row["document"]) if row else None

    def put(self, values: Mapping[str, str]) -> None:
        table, document = tables.settings_in_force, dict(values)
        change = update(table).where(table.c.scope == _HOME).values(document=document)
        if not self._transaction.write(change):
            self._insert(table, scope=_HOME, document=document)

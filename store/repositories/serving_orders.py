"""What the service was told to serve."""

from __future__ import annotations

from sqlalchemy import select, update

from loop.serving_orders import ServingOrder
from store import tables
from store.repositories.base import Repository

# The only one so far.
_DETECTOR = "detector"


class SqlServingOrders(Repository):
    def put(self, order: ServingOrder) -> None:
        table, document = tables.serving_orders, order.as_dict()
        change = update(table).where(table.c.service == _DETECTOR).values(document=document)
        if not self._transaction.write(change):
            self._insert(table, service=_DETECTOR, document=document)

    def find(self) -> ServingOrder | None:
        table = tables.serving_orders
        row = self._one(select(table).where(table.c.service == _DETECTOR))
        return ServingOrder.from_dict(row["document"]) if row else None

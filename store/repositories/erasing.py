"""Erases an image, and all rows that say something of it.

Triggers keep answers from being changed or deleted. They let those of an image go whose id stands
in `tables.erasures`, which it does for as long as the transaction lasts.
"""

from __future__ import annotations

import json

from sqlalchemy import ColumnElement, Table, delete, select

from loop.erased import Erased
from loop.errors import NotFound
from store import tables
from store.repositories.base import Repository
from store.repositories.queue import CasePlaces

# Working state and answers, all keyed by their case.
_BY_CASE = (
    tables.leases,
    tables.drafts,
    tables.skips,
    tables.submissions,
    tables.blind_reviews,
    tables.second_reviews,
)


class Erasing(Repository):
    def erase(self, image_id: str) -> Erased:
        """Raises `NotFound`."""
        images, cases = tables.images, tables.cases
        if self._one(select(images.c.id).where(images.c.id == image_id)) is None:
            raise NotFound(f"There is no image {image_id}.")
        self._insert(tables.erasures, image_id=image_id)
        own = cases.c.image_id == image_id
        for table in _BY_CASE:
            self._delete(table, table.c.case_id.in_(select(cases.c.id).where(own)))
        corrections = self._delete_of(tables.corrections, image_id)
        annotations = self._delete_of(tables.annotations, image_id)
        for row in self._all(select(cases.c.number).where(own)):
            CasePlaces(self._transaction).remove(row["number"])
        gone = Erased(
            corrections=corrections,
            annotations=annotations,
            cases=self._delete(cases, own),
            predictions=self._delete_of(tables.predictions, image_id),
            impacts=self._delete_impacts(image_id),
        )
        self._delete(images, images.c.id == image_id)
        self._delete_of(tables.erasures, image_id)
        return gone

    def _delete_impacts(self, image_id: str) -> int:
        table = tables.impact
        found = [
            row["promotion_id"]
            for row in self._all(select(table))
            if image_id in json.dumps(row["document"])
        ]
        return self._delete(table, table.c.promotion_id.in_(found)) if found else 0

    def _delete_of(self, table: Table, image_id: str) -> int:
        return self._delete(table, table.c.image_id == image_id)

    def _delete(self, table: Table, which: ColumnElement[bool]) -> int:
        return self._transaction.write(delete(table).where(which))

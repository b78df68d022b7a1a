"""What is kept beside the log, to open the commitments in it."""

from __future__ import annotations

import secrets

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from loop.sealing import SALT_BYTES, SealedText
from store import tables
from store.repositories.base import Repository
from store.transaction import Transaction, counted

# Made once: to make one takes as long as to execute it.
_MAKE = {
    "sqlite": counted(sqlite.insert(tables.image_salts).on_conflict_do_nothing()),
    "postgresql": counted(postgresql.insert(tables.image_salts).on_conflict_do_nothing()),
}


class SqlImageSalts(Repository):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._known: dict[str, bytes] = {}

    def of(self, image_id: str) -> bytes:
        salt = self._known.get(image_id)
        if salt is None:
            # What is new is most of it: one statement for that, and two for what is known.
            salt = self._made(image_id) or self.find(image_id)
            if salt is None:
                raise RuntimeError("a salt is neither new nor there")
            self._known[image_id] = salt
        return salt

    def find(self, image_id: str) -> bytes | None:
        table = tables.image_salts
        row = self._one(select(table.c.salt).where(table.c.image_id == image_id))
        return bytes(row["salt"]) if row else None

    def erase(self, image_id: str) -> None:
        self._known.pop(image_id, None)
        table = tables.image_salts
        self._transaction.write(delete(table).where(table.c.image_id == image_id))

    def _made(self, image_id: str) -> bytes | None:
        """A new salt; None if there is one. The database has this one writer from here on."""
        salt = secrets.token_bytes(SALT_BYTES)
        statement = _MAKE[self._transaction.dialect]
        values = {"image_id": image_id, "salt": salt}
        return salt if self._transaction.write(statement, values) else None


class SqlSealedTexts(Repository):
    def add(self, text: SealedText) -> None:
        self._insert(
            tables.sealed_texts, event_id=text.event_id, image_id=text.image_id, text=text.text
        )

    def find(self, event_id: str) -> SealedText | None:
        table = tables.sealed_texts
        row = self._one(select(table).where(table.c.event_id == event_id))
        return SealedText(**row) if row else None

    def erase(self, image_id: str) -> None:
        table = tables.sealed_texts
        self._transaction.write(delete(table).where(table.c.image_id == image_id))

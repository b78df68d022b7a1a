"""By what the database recognises keys that all of its processes must share."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select

from store import tables
from store.database import reading, writing

_columns = tables.key_fingerprints.c


class KeyFingerprints:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, name: str) -> str | None:
        with reading(self._engine) as connection:
            query = select(_columns.fingerprint).where(_columns.name == name)
            return connection.execute(query).scalar_one_or_none()

    def keep(self, name: str, fingerprint: str) -> str:
        """The one that was kept first, this one if there was none."""
        found = self.find(name)
        if found is not None:
            return found
        with writing(self._engine) as connection:  # one at a time
            query = select(_columns.fingerprint).where(_columns.name == name)
            found = connection.execute(query).scalar_one_or_none()
            if found is None:
                values = {"name": name, "fingerprint": fingerprint}
                connection.execute(insert(tables.key_fingerprints).values(values))
        return found or fingerprint

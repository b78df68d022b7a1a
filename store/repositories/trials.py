"""Trials, and what is counted of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, desc, not_, select, update

from loop.errors import NotFound
from loop.trial_counts import TrialCounts
from loop.trials import Trial, TrialState
from store import tables
from store.repositories.base import Repository

_OPEN = (TrialState.STARTING.value, TrialState.RUNNING.value)


class SqlTrials(Repository):
    def add(self, trial: Trial) -> None:
        self._insert(
            tables.trials,
            id=trial.id,
            state=trial.state.value,
            document=trial.as_dict(),
            counts={},
            closed=False,
            created_at=trial.created_at,
        )

    def update(self, trial: Trial) -> None:
        self._set(trial.id, audited=True, state=trial.state.value, document=trial.as_dict())

    def get(self, trial_id: str) -> Trial:
        return _trial(self._row(trial_id))

    def find_open(self) -> Trial | None:
        table = tables.trials
        row = self._one(select(table).where(table.c.state.in_(_OPEN)).limit(1))
        return _trial(row) if row else None

    def find_latest(self) -> Trial | None:
        table = tables.trials
        newest = (desc(table.c.created_at), desc(table.c.id))
        row = self._one(select(table).order_by(*newest).limit(1))
        return _trial(row) if row else None

    def unfinished(self) -> list[Trial]:
        table = tables.trials
        query = select(table).where(not_(table.c.closed)).order_by(table.c.created_at)
        return [_trial(row) for row in self._all(query)]

    def counts(self, trial_id: str) -> dict[str, TrialCounts]:
        counts = self._row(trial_id)["counts"]
        return {replica: TrialCounts.from_dict(each) for replica, each in counts.items()}

    def note_counts(self, trial_id: str, counts: Mapping[str, TrialCounts]) -> None:
        document = {replica: each.as_dict() for replica, each in counts.items()}
        self._set(trial_id, audited=False, counts=document)

    def close(self, trial_id: str) -> None:
        self._set(trial_id, audited=False, closed=True)

    def _row(self, trial_id: str) -> RowMapping:
        row = self._one(select(tables.trials).where(tables.trials.c.id == trial_id))
        if row is None:
            raise NotFound(f"There is no trial {trial_id}.")
        return row

    def _set(self, trial_id: str, *, audited: bool, **values: Any) -> None:
        table = tables.trials
        statement = update(table).where(table.c.id == trial_id).values(**values)
        if self._transaction.write(statement, audited=audited) != 1:
            raise NotFound(f"There is no trial {trial_id}.")


def _trial(row: RowMapping) -> Trial:
    return Trial.from_dict(row["document"])

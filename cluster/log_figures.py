"""The audit log in Prometheus' terms: whether it grows, and whether witnesses keep up with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cluster.app_figures import gauge, unix
from loop.checkpoints import Checkpoint
from store.audit_log import AuditLog
from store.figures import read_outbox


class LogWatch:
    """``clock`` gives seconds since 1970."""

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        # Of each witness: how many entries it had cosigned when that last grew, and when it did.
        self._level: dict[str, tuple[int, float]] = {}

    def families(self) -> list[Metric]:
        """Nothing is integrated, and no witness is asked. Raises `Unavailable`, `BrokenRecord`."""
        rows, at = self._log.rows, self._clock()
        state, outbox = rows.state(), read_outbox(rows.engine)
        oldest = max(0.0, at - unix(outbox.oldest)) if outbox.oldest else 0.0
        return [
            gauge("log_entries", "Entries that the database counts.", state.head.size),
            gauge("log_failed", "1 while the log cannot be written.", bool(state.failure)),
            gauge("outbox_events", "Events that are not in the log yet.", outbox.events),
            gauge("outbox_oldest_seconds", "Age of the oldest of these; 0 if none waits.", oldest),
            *self._checkpoint_families(at),
        ]

    def _checkpoint_families(self, at: float) -> list[Metric]:
        """None where the log's files are not, and before the first entry."""
        behind = GaugeMetricFamily(
            "secondlook_witness_behind_seconds",
            "How long this witness has not cosigned the newest checkpoint; 0 if it has.",
            labels=["witness"],
        )
        cosigned = GaugeMetricFamily(
            "secondlook_witness_entries",
            "Entries that this witness has cosigned, as far as the app knows; 0 before it did.",
            labels=["witness"],
        )
        age = gauge("checkpoint_age_seconds", "How long ago the log's checkpoint was signed.")
        entries = gauge("checkpoint_entries", "Entries that the log's checkpoint counts.")
        note = self._log.files.checkpoint()
        if note is not None:
            size = Checkpoint.parse(note.text).size
            age.add_metric([], max(0.0, at - self._log.files.published_at()))
            entries.add_metric([], size)
            for name, seen in self._log.witnesses.sizes(note).items():
                cosigned.add_metric([name], seen)
                behind.add_metric([name], self._behind(name, seen, size, at))
        return [age, entries, cosigned, behind]

    def _behind(self, name: str, seen: int, size: int, at: float) -> float:
        """A log that grows all the time is always some entries ahead: what counts is since when
        its witness has not moved."""
        before, since = self._level.get(name, (-1, at))
        if seen != before or seen >= size:
            since = at
        self._level[name] = (seen, since)
        return 0.0 if seen >= size else at - since

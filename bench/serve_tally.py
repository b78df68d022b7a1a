"""What a load generator counts: answers by status, latencies, and its own cost."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

from bench.serve_client import OK, TOO_MANY, Answer

# Errors that name what they are about are all different.
_MOST_SAID = 20


class Tally:
    """Counts answers between `begin` and `end`.

    Latencies are of accepted requests (200), from the moment when a request was due. In an open
    loop that is by the schedule: what waits because the server is slow counts as waiting
    (coordinated omission).
    """

    def __init__(self) -> None:
        self.counting = False
        self.answers = 0
        self._statuses: Counter[int] = Counter()
        self._versions: Counter[str] = Counter()
        self._said: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._rejections: list[float] = []
        self._late = 0.0
        self._retry_after = 0
        self._begun = self._ended = self._last = 0.0
        self._cpu_begun = self._cpu_ended = 0.0

    def begin(self, now: float) -> None:
        self.counting, self._begun = True, now
        self._cpu_begun = time.process_time()

    def end(self, now: float) -> None:
        self.counting, self._ended = False, now
        self._cpu_ended = time.process_time()

    def add(self, answer: Answer) -> None:
        self.answers += 1
        self._statuses[answer.status] += 1
        self._last = answer.done
        self._late = max(self._late, answer.sent - answer.due)
        if answer.status == OK:
            self._latencies.append(answer.done - answer.due)
            if answer.version:
                self._versions[answer.version] += 1
        elif answer.status == TOO_MANY:
            self._rejections.append(answer.done - answer.due)
            self._retry_after += answer.retry_after
        if answer.said:
            self._said[answer.said] += 1

    def result(self) -> dict[str, Any]:
        """Latencies in milliseconds; ``errors`` is everything but 200 and 429, and ``said`` is what
        these said, the most frequent first."""
        # What was due in an open loop's window may be answered long after it.
        seconds = max(max(self._ended, self._last) - self._begun, 1e-9)
        accepted, rejected = self._statuses[OK], self._statuses[TOO_MANY]
        return {
            "seconds": seconds,
            "answers": self.answers,
            "images": accepted,
            "images_per_second": accepted / seconds,
            **milliseconds(self._latencies),
            "rejected": rejected,
            "rejected_p99_ms": milliseconds(self._rejections)["p99_ms"],
            "rejected_with_retry_after": self._retry_after,
            "errors": self.answers - accepted - rejected,
            "statuses": {str(code): count for code, count in sorted(self._statuses.items())},
            "said": dict(self._said.most_common(_MOST_SAID)),
            "versions": dict(self._versions),
            "latest_send_ms": self._late * 1000,
            "load_cpu_seconds": self._cpu_ended - self._cpu_begun,
        }


def milliseconds(seconds: list[float]) -> dict[str, float | None]:
    """Median, 95th and 99th percentile, and maximum; None of nothing."""
    if not seconds:
        return dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms"))
    values = np.asarray(seconds) * 1000
    return {
        "p50_ms": float(np.percentile(values, 50)),
        "p95_ms": float(np.percentile(values, 95)),
        "p99_ms": float(np.percentile(values, 99)),
        "max_ms": float(values.max()),
    }

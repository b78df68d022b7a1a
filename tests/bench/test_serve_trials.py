from __future__ import annotations

from typing import Any

import pytest

from bench.serve_table import show_trial
from bench.serve_trials import medians


def measured(clients: int, p99: float | None, *, trial: bool, seen: int = 0) -> dict[str, Any]:
    return {
        "clients": clients,
        "trial": trial,
        "images_per_second": 10.0,
        **dict.fromkeys(("p50_ms", "p95_ms", "max_ms"), 5.0),
        "p99_ms": p99,
        "failed": 1,
        "seen": seen,
        "skipped": 2 * seen,
    }


ROWS = [
    measured(8, 9.0, trial=False),
    measured(8, 12.0, trial=True, seen=20),
    measured(1, None, trial=False),
    measured(8, 10.0, trial=False),
    measured(8, 16.0, trial=True, seen=30),
]


def test_turns_without_and_with_a_trial_are_put_together_by_the_number_of_clients() -> None:
    found = medians(ROWS)
    assert [(row["clients"], row["trial"]) for row in found] == [
        (1, False),
        (8, False),
        (8, True),
    ]
    assert [row["p99_ms"] for row in found] == [None, 9.5, 14.0]
    assert [row["seen"] for row in found] == [0, 0, 50]
    assert [row["skipped"] for row in found] == [0, 0, 100]
    assert [row["failed"] for row in found] == [1, 2, 2]


def test_the_table_has_both(capsys: pytest.CaptureFixture[str]) -> None:
    show_trial({"kind": "shadow", "share": 0.5, "turns": 2, "rows": medians(ROWS)})
    shown = " ".join(capsys.readouterr().out.split())
    assert "A shadow of 50%, median of 2 turns" in shown
    assert "without" in shown
    assert "14.0" in shown

from __future__ import annotations

import pytest

from bench import drift_alarms
from bench.drift_alarms import row


def test_alarms_are_counted_for_what_drifts_and_for_what_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift_alarms, "REPEATS", 10)
    same, other = row(500, 500, 0.0), row(500, 500, -1.0)
    assert (same["scores"], other["scores"]) == (0, 1)
    assert (same["rare"], same["classes"]) == (None, 0)
    assert row(100, 500, 0.0)["numbers"] is None

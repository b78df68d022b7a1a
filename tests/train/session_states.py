"""States of sessions for tests."""

from __future__ import annotations

from store.processes import ProcessRecord
from train.session_state import SessionState


def session_state(run_id: str, driver: ProcessRecord, **changed: object) -> SessionState:
    """Of a cross-validation that nothing is known of but who runs it."""
    usual: dict[str, object] = {
        "cv_id": "0" * 32,
        "kind": "cv",
        "labels": "adjudicated",
        "parent": None,
        "workspace": "/somewhere",
        "started_at": "2026-01-01T00:00:00.000000Z",
        "fingerprint": {},
        "base": {},
        "mark": f"mark-of-{run_id}",
    }
    return SessionState(run_id=run_id, driver=driver, **(usual | changed))  # type: ignore[arg-type]

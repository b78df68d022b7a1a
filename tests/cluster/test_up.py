from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster import up
from store.settings import Settings


def test_mlflow_s_database_is_not_on_a_command_line_that_everybody_sees(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Sequence[str], Mapping[str, str]]] = []

    class Recorded:
        def __init__(
            self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
        ) -> None:
            started.append((command, environment))

        def stop(self) -> None:
            pass

    monkeypatch.setattr(up, "Child", Recorded)
    url = "postgresql://ada:secret@db/mlflow"
    settings = settings.model_copy(update={"tracking_uri": url})
    with ExitStack() as stack:
        parts = up._Parts(settings, stack, print, threading.Event(), None, undeploy=False)
        parts._start_mlflow()
    ((command, environment),) = started
    assert not any("secret" in word for word in command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == url

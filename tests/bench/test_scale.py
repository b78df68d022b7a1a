from __future__ import annotations

from pathlib import Path

import pytest

from bench import postgres
from bench.__main__ import COMPARISONS
from bench.queue_pages import pages_of_queue
from bench.queue_rows import CLASSES, fill, multiply
from bench.scale_log import in_files
from bench.scale_queue import database_bytes
from bench.scale_snapshot import corrected, near_duplicates, opened, written
from loop.cases import CaseState
from loop.classes import ClassList
from store.database import migrate, open_engine
from store.unit_of_work import units_of_work

ROWS = 30
CASES = 50_000  # rare classes and models are one of ten thousand, in each state


def quiet(_: str) -> None:
    return


def test_comparisons_at_scale_can_be_called_by_their_names() -> None:
    assert {f"scale_{name}" for name in ("folds", "log", "queue", "snapshot")} <= {*COMPARISONS}


def test_a_queue_is_multiplied_with_its_kinds_and_counts(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'queue.db'}")
    migrate(engine)
    fill(engine, 100, quiet)
    few = database_bytes(engine)
    with units_of_work(engine)() as uow:
        before = uow.cases.counts()
    multiply(engine, 3, quiet)
    with units_of_work(engine)() as uow:
        after = uow.cases.counts()
        assert uow.classes.get() == ClassList(tuple(CLASSES))
    assert before[CaseState.FIRST] == 60
    assert after == {state: 3 * count for state, count in before.items()}
    assert database_bytes(engine) > few
    engine.dispose()


@pytest.mark.slow
@pytest.mark.skipif(not postgres.is_there(), reason="PostgreSQL 15 is not installed")
def test_what_the_queue_reads_hardly_grows_with_it() -> None:
    with postgres.server() as url:
        engine = open_engine(url)
        migrate(engine)
        fill(engine, CASES, quiet)
        before = pages_of_queue(engine)
        multiply(engine, 3, quiet)
        after = pages_of_queue(engine)
        engine.dispose()
    grown = {what: (count, after[what]) for what, count in before.items()}
    # A level more in each index that is looked into, and not three times as many pages.
    assert not {what: pages for what, pages in grown.items() if pages[1] > 2 * pages[0] + 20}


def test_a_snapshot_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    first = written(folder, ROWS, 3)
    assert first["annotation_bytes_a_row"] > 0
    assert first["image_bytes_a_row"] > 300
    assert opened(folder, ROWS, 3)["image_read_ms"] > 0
    assert corrected(folder, ROWS, 3)["added_files"] == 1
    assert near_duplicates(ROWS)["hashes"] == ROWS


def test_a_log_is_measured(tmp_path: Path) -> None:
    found = in_files(tmp_path / "log", 600)
    assert found["bytes"] > 600 * found["entry_bytes"]
    assert found["proof_p99_ms"] >= found["proof_p50_ms"] > 0

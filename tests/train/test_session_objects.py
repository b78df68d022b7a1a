"""Sessions that another machine began, through the bucket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loop.errors import Unavailable
from store.objects import Bucket
from store.processes import ProcessRecord
from store.settings import Settings
from tests.s3 import S3Server, open_bucket
from tests.train.session_states import session_state
from train.session_objects import SessionObjects, session_objects
from train.session_state import SessionState, SessionStatus, is_alive, remove, sessions

Machine = Callable[[str], SessionObjects]


@pytest.fixture
def machine(s3: S3Server, tmp_path: Path) -> Machine:
    url = s3.bucket()
    return lambda name: SessionObjects(open_bucket(url), tmp_path / name)


def state(run_id: str, host: str = "") -> SessionState:
    driver = ProcessRecord.own()
    return session_state(run_id, replace(driver, host=host or driver.host))


def begin(on: SessionObjects, found: SessionState) -> Path:
    folder = on.storage / found.run_id
    found.write(folder)
    on.push(folder)
    return folder


def test_a_session_of_another_machine_is_seen_and_lives(machine: Machine) -> None:
    begin(machine("one"), state("run1", host="one"))
    two = machine("two")
    two.pull()
    ((folder, found),) = sessions(two.storage)
    assert found.run_id == "run1"
    assert is_alive(found, folder)


def test_without_signs_of_life_it_does_not(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(machine("one"), state("run1", host="one"))
    monkeypatch.setattr("train.session_state._SILENCE_S", -1.0)
    two = machine("two")
    two.pull()
    ((folder, found),) = sessions(two.storage)
    assert not is_alive(found, folder)


@pytest.mark.parametrize("wrong_s", [-7200, 7200])
def test_a_machine_whose_clock_is_wrong_sees_whether_it_lives(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, wrong_s: float
) -> None:
    found = state("run1", host="one")
    begin(machine("one"), found)
    two = machine("two")
    assert takes(two, found)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong_s)
    two.pull()
    ((folder, seen),) = sessions(two.storage)
    assert is_alive(seen, folder)
    assert not takes(machine("three"), found)
    monkeypatch.setattr("train.session_state._SILENCE_S", -2.0)
    assert not is_alive(seen, folder)


def test_a_session_of_this_machine_is_not_overwritten(machine: Machine) -> None:
    one = machine("one")
    folder = begin(one, state("run1"))
    replace(state("run1"), failure="newer, and not pushed yet").write(folder)
    one.pull()
    found = SessionState.read(folder)
    assert found is not None
    assert found.failure == "newer, and not pushed yet"


def test_what_became_of_it_elsewhere_comes_here(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    begin(one, state("run1", host="one"))
    two.pull()
    ended = replace(state("run1", host="one"), status=SessionStatus.LOST, failure="gone")
    ended.write(two.storage / "run1")
    two.push(two.storage / "run1")
    one.pull()
    found = SessionState.read(one.storage / "run1")
    assert found == ended


def test_one_machine_takes_it_up_and_no_other(machine: Machine) -> None:
    found = state("run1", host="gone")
    assert takes(machine("one"), found)
    assert not takes(machine("two"), found)
    assert takes(machine("two"), replace(found, mark="of-the-next-driver"))


def takes(on: SessionObjects, found: SessionState) -> bool:
    with on.step(found, "taken") as mine:
        return mine


def test_who_fails_to_take_it_up_gives_it_back(machine: Machine) -> None:
    found = state("run1", host="gone")
    with pytest.raises(Unavailable), machine("one").step(found, "taken") as mine:
        assert mine
        raise Unavailable("MLflow is away.")
    assert takes(machine("two"), found)


def test_who_died_while_taking_it_up_is_not_waited_for_for_ever(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = state("run1", host="gone")
    assert takes(machine("one"), found)
    monkeypatch.setattr("train.session_objects._STEP_S", -1.0)
    assert takes(machine("two"), found)
    monkeypatch.undo()
    assert not takes(machine("three"), found)


def test_who_hears_nothing_of_having_taken_it_has_taken_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store did it, its answer was lost, and it refuses the second attempt."""
    one = machine("one")
    put_new = Bucket.put_new

    def twice(self: Bucket, key: str, data: bytes) -> bool:
        put_new(self, key, data)
        return put_new(self, key, data)

    monkeypatch.setattr(Bucket, "put_new", twice)
    assert takes(one, state("run1", host="gone"))
    assert not takes(machine("two"), state("run1", host="gone"))


@pytest.mark.parametrize("status", list(SessionStatus))
def test_one_that_ended_well_elsewhere_is_no_more_here(
    machine: Machine, status: SessionStatus
) -> None:
    """Or it would be put on record as lost, or taken up again, by who has an old copy."""
    one, two = machine("one"), machine("two")
    begin(one, replace(state("run1", host="one"), status=status))
    two.pull()
    assert len(sessions(two.storage)) == 1
    one.remove("run1")
    two.pull()
    assert list(two.storage.iterdir()) == []


def test_a_machine_that_comes_back_hears_what_became_of_its_sessions(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    dead = replace(state("run1"), driver=replace(ProcessRecord.own(), started=0.0))
    folder = begin(one, dead)
    lost = replace(dead, status=SessionStatus.LOST, failure="gone")
    lost.write(two.storage / "run1")
    two.push(two.storage / "run1")
    one.pull()
    assert SessionState.read(folder) == lost
    two.remove("run1")
    one.pull()
    assert sessions(one.storage) == []


def test_what_was_never_in_this_bucket_stays(machine: Machine, s3: S3Server) -> None:
    one = machine("one")
    alone = replace(state("run1", host="other"), status=SessionStatus.FAILED)
    alone.write(one.storage / "run1")
    begin(replace(one, objects=open_bucket(s3.bucket())), replace(alone, run_id="run2"))
    one.pull()
    assert {found.run_id for _, found in sessions(one.storage)} == {"run1", "run2"}


def test_a_session_that_runs_here_stays_whatever_the_bucket_has(machine: Machine) -> None:
    one = machine("one")
    begin(one, state("run1"))
    one.remove("run1")
    one.pull()
    assert len(sessions(one.storage)) == 1


def test_without_a_sign_of_life_its_beginning_is_one(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    begin(one, state("run1", host="one"))
    one.objects.delete(["training/run1/alive"])
    two.pull()
    ((folder, found),) = sessions(two.storage)
    assert is_alive(found, folder)


@pytest.mark.parametrize("run_id", ["..", ".", ""])
def test_nothing_is_written_beside_the_sessions(machine: Machine, run_id: str) -> None:
    one = machine("one")
    for name in ("alive", "session.json"):
        one.objects.put(f"training/{run_id}/{name}", b"{}")
    one.pull()
    assert not (one.storage / run_id / "session.json").exists()
    assert not (one.storage / run_id / "alive").exists()


def test_what_is_removed_is_gone_for_all(machine: Machine) -> None:
    one, two = machine("one"), machine("two")
    folder = begin(one, state("run1", host="one"))
    one.objects.put("training/run1/fold-0/checkpoint-000001/last.pt", b"")
    remove(folder)
    one.remove("run1")
    two.pull()
    assert sessions(two.storage) == []
    assert list(one.objects.list("training/")) == []


def test_a_damaged_one_is_nobodys(machine: Machine) -> None:
    one = machine("one")
    one.objects.put("training/run1/session.json", json.dumps({"run_id": "run1"}).encode())
    one.pull()
    assert sessions(one.storage) == []


@pytest.mark.parametrize(
    ("storage_url", "ray_address", "shared"),
    [
        ("", "", False),
        ("", "ray:6379", False),
        ("s3://bucket", "", False),
        ("s3://bucket", "ray:6379", True),
    ],
)
def test_sessions_are_shared_where_folds_may_be_elsewhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storage_url: str,
    ray_address: str,
    shared: bool,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    settings = Settings(home=tmp_path, storage_url=storage_url)
    assert (session_objects(settings, tmp_path) is not None) == shared

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from loop.errors import BrokenRecord, Misconfigured, NotFound, Unavailable
from store.settings import Settings
from store.tracking import EXPERIMENT, MetricPoint, Tracking, open_tracking
from tests.s3 import S3Server, open_bucket

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One for all tests, each with runs of its own: making its database takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    tracking.prepare()
    return tracking


def start(tracking: Tracking, parent: str | None = None) -> str:
    return tracking.start_run(EXPERIMENT, "run", tags={}, params={}, parent=parent)


def test_the_database_is_made_in_the_home_by_preparing_it(tmp_path: Path) -> None:
    tracking = open_tracking(Settings(home=tmp_path))
    assert not list(tmp_path.iterdir())
    tracking.prepare()
    assert (tmp_path / "mlflow" / "mlflow.db").is_file()


def test_a_database_relative_to_the_working_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="relative"):
        Tracking("sqlite:///mlflow.db", tmp_path)


def test_preparing_twice_changes_nothing(tracking: Tracking) -> None:
    before = tracking.experiment_id(EXPERIMENT)
    tracking.prepare()
    assert tracking.experiment_id(EXPERIMENT) == before


def test_a_run_keeps_its_tags_params_and_latest_metrics(tracking: Tracking) -> None:
    params = {f"p{i}": i for i in range(150)}  # more than MLflow takes at once
    run_id = tracking.start_run(EXPERIMENT, "one", tags={"loop.kind": "cv"}, params=params)
    tracking.log_metrics(run_id, {"map50": 0.25}, 1)
    tracking.log_metrics(run_id, {"map50": 0.5}, 2)
    tracking.set_tags(run_id, {"loop.decision": "promote"})
    run = tracking.run(run_id)
    assert (run.name, run.status) == ("one", "RUNNING")
    assert run.tags["loop.kind"] == "cv"
    assert run.tags["loop.decision"] == "promote"
    assert run.params == {name: str(value) for name, value in params.items()}
    assert tracking.latest_metrics(run_id) == {"map50": 0.5}
    assert tracking.metric_steps(run_id, "map50") == [1, 2]


def test_metric_names_lose_what_mlflow_does_not_take(tracking: Tracking) -> None:
    run_id = start(tracking)
    tracking.log_metrics(run_id, {"metrics/mAP50(B)": 1.0}, 1)
    assert tracking.latest_metrics(run_id) == {"metrics/mAP50_B_": 1.0}


def test_children_are_listed_oldest_first(tracking: Tracking) -> None:
    parent = start(tracking)
    children = [start(tracking, parent) for _ in range(3)]
    start(tracking)
    assert tracking.children(parent) == children


def test_child_runs_come_with_their_tags_and_metrics(tracking: Tracking) -> None:
    parent = start(tracking)
    child = tracking.start_run(
        EXPERIMENT, "fold 0", tags={"loop.fold": "0"}, params={}, parent=parent
    )
    tracking.log_metrics(child, {"map50": 0.5}, 1)
    (found,) = tracking.child_runs(parent)
    assert (found.run_id, found.name, found.tags["loop.fold"]) == (child, "fold 0", "0")
    assert found.metrics == {"map50": 0.5}


def test_runs_are_found_by_all_of_their_tags_newest_first(tracking: Tracking) -> None:
    def tagged(**tags: str) -> str:
        return tracking.start_run(EXPERIMENT, "run", tags=tags, params={})

    runs = [tagged(kind="searched", labels="a") for _ in range(3)]
    tagged(kind="searched", labels="b")
    tagged(kind="other", labels="a")
    found = tracking.runs({"kind": "searched", "labels": "a"}, limit=2)
    assert [run.run_id for run in found] == runs[:0:-1]


def test_top_runs_lie_below_no_other_and_say_what_they_are(tracking: Tracking) -> None:
    first = tracking.start_run(EXPERIMENT, "a", tags={"loop.kind": "cv"}, params={})
    tracking.start_run(EXPERIMENT, "b", tags={"loop.kind": "fold"}, params={}, parent=first)
    start(tracking)  # does not say what it is
    last = tracking.start_run(EXPERIMENT, "d", tags={"loop.kind": "search"}, params={})
    assert [run.run_id for run in tracking.top_runs(2)] == [last, first]


def test_a_folder_is_kept_below_a_path(tracking: Tracking, tmp_path: Path) -> None:
    run_id = start(tracking)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    tracking.log_folder(run_id, tmp_path, "files")
    assert tracking.read_text(run_id, "files/deep/a.txt") == "a"


def test_a_run_knows_when_it_started_and_ended(tracking: Tracking) -> None:
    run_id = start(tracking)
    assert tracking.run(run_id).ended_at == ""
    tracking.end_run(run_id, ok=True)
    run = tracking.run(run_id)
    assert "2020" < run.started_at <= run.ended_at
    assert run.ended_at.endswith("Z")


def test_a_metric_s_history_has_each_step_once_with_its_last_value(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(tracking)
    clock = iter((10.5, 11.5, 12.5))
    monkeypatch.setattr("store.tracking.time", SimpleNamespace(time=lambda: next(clock)))
    for step, value in ((2, 0.25), (1, 0.125), (2, 0.5)):
        tracking.log_metrics(run_id, {"map50": value}, step)
    assert tracking.metric_history(run_id, "map50") == [
        MetricPoint(1, 0.125, "1970-01-01T00:00:11.500000Z"),
        MetricPoint(2, 0.5, "1970-01-01T00:00:12.500000Z"),
    ]
    assert tracking.metric_history(run_id, "other") == []


def test_a_text_is_read_back(tracking: Tracking) -> None:
    run_id = start(tracking)
    tracking.log_text(run_id, '{"Zelle": "weiß"}', "gold/seen.json")
    assert tracking.read_text(run_id, "gold/seen.json") == '{"Zelle": "weiß"}'


def test_a_text_that_was_not_kept_is_not_found(tracking: Tracking) -> None:
    run_id = start(tracking)
    with pytest.raises(NotFound):
        tracking.read_text(run_id, "gold/seen.json")


def test_an_artifact_that_is_not_text_is_said_to_be_none(
    tracking: Tracking, tmp_path: Path
) -> None:
    run_id = start(tracking)
    (tmp_path / "picture").write_bytes(b"\xff\xfe\xff")
    tracking.log_file(run_id, tmp_path / "picture")
    with pytest.raises(BrokenRecord, match="picture"):
        tracking.read_text(run_id, "picture")


def test_a_run_id_in_the_environment_does_not_matter(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = start(tracking)
    monkeypatch.setenv("MLFLOW_RUN_ID", parent)
    child = start(tracking, parent)
    assert child != parent
    assert tracking.children(parent) == [child]


def test_a_run_ends_finished_or_failed(tracking: Tracking) -> None:
    good, bad = start(tracking), start(tracking)
    tracking.end_run(good, ok=True)
    tracking.end_run(bad, ok=False)
    assert tracking.run(good).status == "FINISHED"
    assert tracking.run(bad).status == "FAILED"


def test_artifacts_lie_below_the_given_folder(tracking: Tracking, tmp_path: Path) -> None:
    run_id = start(tracking)
    (tmp_path / "results.csv").write_text("fold\n")
    tracking.log_file(run_id, tmp_path / "results.csv", "tables")
    tracking.log_text(run_id, "hello", "note.txt")
    kept = tracking.artifacts / EXPERIMENT / run_id / "artifacts"
    assert tracking.run(run_id).artifact_uri == kept.as_uri()
    assert (kept / "tables" / "results.csv").read_text() == "fold\n"
    assert (kept / "note.txt").read_text() == "hello"


def test_an_unknown_run_is_not_found(tracking: Tracking) -> None:
    with pytest.raises(NotFound):
        tracking.run("f" * 32)


def test_a_server_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 ") as caught:
        Tracking("http://127.0.0.1:9", tmp_path).prepare()
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


STEPS = 10


def _log_steps(uri: str, artifacts: Path, run_id: str) -> None:
    tracking = Tracking(uri, artifacts)
    for step in range(STEPS):
        tracking.log_metrics(run_id, {"map50": step / STEPS, "epoch": float(step)}, step)


def test_three_processes_log_at_once(tracking: Tracking) -> None:
    runs = [start(tracking) for _ in range(3)]
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_log_steps, args=(tracking.uri, tracking.artifacts, run_id))
        for run_id in runs
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    for run_id in runs:
        assert tracking.metric_steps(run_id, "map50") == list(range(STEPS))


def test_a_lock_that_is_freed_soon_does_not_fail_a_call(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    monkeypatch.setattr(time, "sleep", lambda _: None)
    left = [3]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)
        return "done"

    assert tracking.call(action) == "done"


def test_a_lock_that_is_never_freed_ends_in_unavailable(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    monkeypatch.setattr(time, "sleep", lambda _: None)

    def action() -> None:
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    with pytest.raises(Unavailable, match="busy"):
        tracking.call(action)


def test_artifacts_go_into_the_bucket_of_the_settings(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3.bucket()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL")
    tracking = open_tracking(Settings(home=tmp_path, storage_url=url))
    tracking.prepare()
    run_id = tracking.start_run(EXPERIMENT, "run", tags={}, params={})
    tracking.log_text(run_id, "text", "folder/file.txt")
    assert tracking.read_text(run_id, "folder/file.txt") == "text"
    (kept,) = open_bucket(url).list("mlflow/")
    assert kept.key == f"mlflow/{EXPERIMENT}/{run_id}/artifacts/folder/file.txt"

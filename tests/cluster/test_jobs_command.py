from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster import cli, training_jobs
from cluster.job_files import JobFiles, JobRecord
from cluster.running import note_running
from loop.errors import InvalidInput, LoopError, Misconfigured
from store.processes import free_port
from store.settings import Settings
from store.workspace import Workspace
from tests.cluster.ray_dashboard import TOKEN, Dashboard, dashboard_at
from tests.store.test_workspace_parcel import workspace  # noqa: F401
from ui.operations import JobKind

Run = Callable[..., Result]
PIPELINE = "stages:\n  data_collection:\n    cmd: 'true'\n"


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(training_jobs, "_KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(training_jobs, "_FOLLOW_SECONDS", 0.01)
    with dashboard_at(tmp_path, runs=False) as dashboard:
        yield dashboard


@pytest.fixture
def run(
    settings: Settings,
    ray: Dashboard,
    workspace: Workspace,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """The command line in a workspace, where `up` seems to run."""
    (workspace.folder / "dvc.yaml").write_text(PIPELINE)
    (workspace.folder / "params.yaml").write_text("EPOCHS: 7\nBASE_MODEL: champion\n")
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setenv("SECONDLOOK_HOME", str(settings.home))
    note_running(settings, "127.0.0.1:6379", ray.url, "http://127.0.0.1:5001")

    def invoke(*words: str, status: int = 0) -> Result:
        done = CliRunner().invoke(cli.app, ["jobs", *words])
        if isinstance(done.exception, LoopError):
            raise done.exception
        assert done.exit_code == status, done.output
        return done

    return invoke


def submitted(run: Run, *words: str) -> str:
    job_id: str = json.loads(run("submit", "--json", *words).stdout)["id"]
    return job_id


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("kfold", "--", "EPOCHS=3"), "train kfold -S EPOCHS=3"),
        (("standard", "--labels", "first_reviewer"), "train run --labels first_reviewer"),
        (
            ("search", "--trials", "4", "--", "train.lr0=0.1"),
            "train search --trials 4 -S train.lr0",
        ),
        (("stage", "data_collection"), "train stage data_collection"),
    ],
    ids=["kfold", "standard", "search", "stage"],
)
def test_what_is_handed_in_is_the_command_in_the_workspace_s_folder(
    run: Run, ray: Dashboard, words: tuple[str, ...], line: str
) -> None:
    job_id = submitted(run, *words)
    entrypoint = ray.jobs[job_id].raw["entrypoint"]
    assert job_id.startswith(f"sl-{words[0]}-")
    assert entrypoint.startswith(f"cd {Path.cwd()} && exec ")
    assert line in entrypoint


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("kfold", "--", "EPOCHS=none"), "EPOCHS"),
        (("kfold", "--", "EPOCS=3"), "EPOCS"),
        (("kfold", "--", "EPOCHS"), "is not NAME=VALUE"),
        (("kfold", "--", "train.no_such=1"), "no_such"),
        (("kfold", "--trials", "3"), "Only a search"),
        (("stage",), "Which stage"),
        (("stage", "no_such"), "no stage"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_handed_in(
    run: Run, ray: Dashboard, words: tuple[str, ...], match: str
) -> None:
    with pytest.raises((InvalidInput, Misconfigured), match=match):
        run("submit", *words)
    assert ray.jobs == {}


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 1)])
def test_a_log_is_followed_to_the_end_and_the_exit_code_tells_how_it_was(
    run: Run, ray: Dashboard, status: str, code: int
) -> None:
    job_id = submitted(run, "stage", "data_collection")
    timer = threading.Timer(0.2, ray.end, (job_id, status, "why", "one\ntwo\n"))
    timer.start()
    done = run("logs", "-f", job_id, status=code)
    timer.join()
    assert done.stdout.startswith("one\ntwo\n")
    assert f"Job {job_id} {status.lower()}" in done.stderr


def test_jobs_are_listed_and_stopped(run: Run, ray: Dashboard) -> None:
    assert "Jobs: none." in run("list").stdout
    job_id = submitted(run, "stage", "data_collection")
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["id"], listed["state"], listed["kind"]) == (job_id, "queued", "stage")
    assert listed["mlflow_run_id"] is None
    assert json.loads(run("stop", job_id, "--json").stdout)["state"] == "stopping"
    assert ray.jobs[job_id].stopping
    ray.end(job_id, "STOPPED")
    assert json.loads(run("logs", job_id, "--json").stdout)["state"] == "stopped"


def test_a_job_elsewhere_needs_a_bucket_and_brings_code_and_workspace(
    run: Run, ray: Dashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "laptop"))
    monkeypatch.setenv("SECONDLOOK_DASHBOARD_URL", ray.url)
    with pytest.raises(Misconfigured, match="bucket"):
        run("submit", "stage", "data_collection")
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", "s3://bucket?endpoint_url=http://store:9000")
    first = submitted(run, "stage", "data_collection")
    submitted(run, "stage", "data_collection")
    raw = ray.jobs[first].raw
    assert raw["entrypoint"] == "sh cluster/job.sh 90.0 train stage data_collection"
    assert raw["runtime_env"]["working_dir"].startswith("gcs://_ray_pkg_")
    assert raw["runtime_env"]["env_vars"]["SECONDLOOK_STORAGE_URL"].startswith("s3://bucket")
    assert b"cluster/job_entry.py" in next(iter(ray.packages.values()))


def test_a_job_whose_cluster_is_gone_is_told_apart_and_can_be_given_up(
    run: Run, settings: Settings
) -> None:
    job_id, url = "sl-kfold-0000000a", f"http://127.0.0.1:{free_port()}"
    record = JobRecord(JobKind.KFOLD, "quiet-otter", {}, url, here=False)
    JobFiles(settings.run_dir / "jobs").write(job_id, record)
    told = run("list").output
    assert "running, no answer" in " ".join(told.split())
    assert "jobs stop ID --gone" in told
    run("stop", job_id, "--gone")
    (job,) = json.loads(run("list", "--json").stdout)
    assert (job["id"], job["state"], job["silence"]) == (job_id, "failed", "")

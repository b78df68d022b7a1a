from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import job_files, training_jobs
from cluster.job_place import Place
from cluster.processes import descendants
from cluster.ray_jobs import RayJobs
from cluster.training_jobs import RayTrainingJobs
from loop.errors import (
    Conflict,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    NotFound,
    Unavailable,
)
from loop.events import Actor, Outcome, Role
from store.audit_log import open_audit_log
from store.processes import is_alive
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work
from tests.cluster.ray_dashboard import TOKEN, Dashboard, dashboard_at
from ui.operations import Job, JobKind, JobState

ENGINEER = Actor("quiet-otter", Role.ENGINEER)
REVIEWER = Actor("loud-heron", Role.REVIEWER)
PARAMETERS = {"K_FOLDS": 3, "EPOCHS": 2}

TELLS = """
import json, os, sys
told = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
print(json.dumps(told))
"""
FAILS = "import sys; print('epoch 1'); print('\\x1b[31mError: no images\\x1b[0m'); sys.exit(1)"
WAITS = """
import sys, time
print("started", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted, saving", flush=True)
    sys.exit(130)
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """With a folder that looks like a workspace."""
    workspace = tmp_path / "workspace"
    (workspace / ".dvc").mkdir(parents=True)
    (workspace / "dvc.yaml").write_text("stages: {}\n")
    (workspace / "params.yaml").write_text("EPOCHS: 7\nBASE_MODEL: small.pt\n")
    return settings.model_copy(update={"workspace": workspace})


Make = Callable[..., RayTrainingJobs]


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(training_jobs, "_KNOWN_SECONDS", 0.0)
    with dashboard_at(tmp_path) as dashboard:
        yield dashboard


@pytest.fixture
def make(settings: Settings, tmp_path: Path, ray: Dashboard) -> Iterator[Make]:
    """Makes jobs that run a program of the test's instead of the command line; afterwards all of
    it is ended."""
    made: list[RayTrainingJobs] = []

    def make_jobs(
        program: str, grace_seconds: float = 30.0, settings: Settings = settings
    ) -> RayTrainingJobs:
        script = tmp_path / "program.py"
        script.write_text(program)
        jobs = RayTrainingJobs(
            settings,
            open_units_of_work(settings),
            program=(sys.executable, str(script)),
            grace_seconds=grace_seconds,
            find=lambda _: Place(ray.url, here=True),
        )
        made.append(jobs)
        return jobs

    yield make_jobs
    for jobs in made:
        for job in jobs.jobs():
            _kill_all(jobs, job)


def _kill_all(jobs: RayTrainingJobs, job: Job) -> None:
    _, keeper = jobs._files.process(job.id)
    family = [*descendants(keeper.pid), keeper] if keeper else []
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen."


def ended(jobs: RayTrainingJobs, job: Job) -> Job:
    wait_for(lambda: not jobs.get(job.id).state.active)
    return jobs.get(job.id)


def keeper_of(jobs: RayTrainingJobs, job: Job) -> psutil.Process:
    _, keeper = jobs._files.process(job.id)
    assert keeper is not None
    return keeper


def started(jobs: RayTrainingJobs, job: Job) -> None:
    wait_for(lambda: "started" in jobs.log(job.id, 5))


def events(settings: Settings) -> list[tuple[str, Outcome, str]]:
    entries = open_audit_log(settings)
    entries.integrate()
    found = [entry.event for entry in entries.tail(100)]
    return [(event.type, event.outcome, event.actor.pseudonym) for event in found]


def test_a_training_runs_in_the_workspace_as_the_person_who_started_it(
    make: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SECONDLOOK_SESSION_KEY", "for the app alone")
    jobs = make(TELLS)
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    assert (job.state, job.exit_code, job.kind) == (JobState.SUCCEEDED, 0, JobKind.KFOLD)
    assert (job.started_by, job.parameters) == ("quiet-otter", PARAMETERS)
    assert job.started_at < job.ended_at
    told: dict[str, Any] = json.loads(jobs.log(job.id, 1))
    assert told["arguments"] == [
        *("--home", str(settings.home), "train", "kfold", "-S", "K_FOLDS=3", "-S", "EPOCHS=2")
    ]
    assert told["folder"] == str(settings.workspace)
    environment = told["environment"]
    assert environment["SECONDLOOK_ACTOR"] == "quiet-otter"
    assert environment["SECONDLOOK_JOB"] == job.id
    assert environment["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert "OMP_NUM_THREADS" not in environment
    assert "SECONDLOOK_SESSION_KEY" not in environment


def test_what_was_asked_for_is_on_record_before_and_after_it_starts(
    make: Make, settings: Settings
) -> None:
    jobs = make(TELLS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    assert events(settings) == [
        ("training.requested", Outcome.INTENDED, "quiet-otter"),
        ("training.requested", Outcome.DONE, "quiet-otter"),
    ]
    log = open_audit_log(settings)
    (last,) = log.tail(1)
    assert last.event.subject == {"job_id": job.id, "kind": "kfold"}
    assert last.event.details == {"parameters": PARAMETERS}


def test_measurements_are_jobs_too(make: Make, settings: Settings) -> None:
    jobs = make(TELLS)
    job = ended(jobs, jobs.propose("3", actor=ENGINEER))
    assert job.kind is JobKind.PROPOSE
    assert json.loads(jobs.log(job.id, 1))["arguments"][2:] == ["models", "compare", "3"]
    job = ended(jobs, jobs.measure(["3", "2"], actor=ENGINEER))
    assert job.kind is JobKind.MEASURE
    assert json.loads(jobs.log(job.id, 1))["arguments"][2:] == ["models", "measure", "3", "2"]
    assert {type for type, _, _ in events(settings)} == {"measurement.requested"}


@pytest.mark.parametrize("version", ["", "candidate", "--help", "1;2"])
def test_only_versions_are_measured(make: Make, version: str) -> None:
    with pytest.raises(InvalidInput, match="Not versions"):
        make(TELLS).propose(version, actor=ENGINEER)
    with pytest.raises(InvalidInput, match="Not versions"):
        make(TELLS).measure(["1", version], actor=ENGINEER)


def test_a_failed_job_keeps_its_exit_code_and_its_last_lines(make: Make) -> None:
    jobs = make(FAILS)
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    assert (job.state, job.exit_code) == (JobState.FAILED, 1)
    assert jobs.log(job.id, 1) == "Error: no images"
    assert jobs.log(job.id, 50) == "epoch 1\nError: no images"


def test_only_one_job_runs_at_a_time(make: Make, settings: Settings) -> None:
    jobs = make(WAITS)
    first = jobs.start(PARAMETERS, actor=ENGINEER)
    for start in (
        lambda: jobs.start(PARAMETERS, actor=ENGINEER),
        lambda: jobs.propose("1", actor=ENGINEER),
        lambda: make(WAITS).measure(["1"], actor=ENGINEER),
    ):
        with pytest.raises(Conflict, match=r"queued|running"):
            start()
    assert [job.id for job in jobs.jobs()] == [first.id]
    assert len(events(settings)) == 2


def test_a_stopped_job_ends_itself(make: Make, settings: Settings) -> None:
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    started(jobs, job)
    jobs.stop(job.id, actor=ENGINEER)
    after = ended(jobs, job)
    assert (after.state, after.exit_code) == (JobState.STOPPED, 130)
    assert jobs.log(job.id, 1) == "interrupted, saving"
    assert events(settings)[-1] == ("training.stopped", Outcome.DONE, "quiet-otter")
    with pytest.raises(Conflict, match="stopped"):
        jobs.stop(job.id, actor=ENGINEER)
    assert jobs.start(PARAMETERS, actor=ENGINEER).state.active


def test_a_job_that_does_not_end_itself_is_killed_with_all_it_started(make: Make) -> None:
    jobs = make(STUBBORN, grace_seconds=0.2)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    started(jobs, job)
    family = keeper_of(jobs, job).children(recursive=True)
    assert len(family) == 2
    jobs.stop(job.id, actor=ENGINEER)
    assert jobs.get(job.id).state is JobState.STOPPING
    after = ended(jobs, job)
    assert (after.state, after.exit_code) == (JobState.STOPPED, -signal.SIGKILL)
    wait_for(lambda: not any(is_alive(process) for process in family))


def test_a_job_is_found_again_after_a_restart(make: Make) -> None:
    before = make(WAITS)
    job = before.start(PARAMETERS, actor=ENGINEER)
    started(before, job)
    after = make(WAITS)
    (found,) = after.jobs()
    assert (found.id, found.state) == (job.id, JobState.RUNNING)
    assert after.log(job.id, 1) == "started"
    after.stop(job.id, actor=ENGINEER)
    assert ended(after, job).exit_code == 130
    assert make(WAITS).jobs() == after.jobs()


def test_a_job_whose_runner_is_killed_has_failed_and_is_interrupted(make: Make) -> None:
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    started(jobs, job)
    keeper_of(jobs, job).kill()
    after = ended(jobs, job)
    assert (after.state, after.exit_code) == (JobState.FAILED, None)
    assert after.ended_at > after.started_at
    wait_for(lambda: "interrupted" in jobs.log(job.id, 1))


def test_a_reused_process_id_is_not_taken_for_a_job_and_not_signalled(
    make: Make, settings: Settings
) -> None:
    jobs = make(TELLS)
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    folder = settings.run_dir / "jobs"
    record = folder / f"{job.id}.process.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": os.getpid()}))
    (folder / f"{job.id}.end.json").unlink()
    again = make(TELLS)
    assert not again.jobs()[0].state.active
    again._files.interrupt(job.id)


def test_what_ray_kills_is_interrupted_and_has_its_time(make: Make, ray: Dashboard) -> None:
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    started(jobs, job)
    ray.kill_all()
    after = ended(jobs, job)
    assert (after.state, after.exit_code) == (JobState.FAILED, 130)
    assert jobs.log(job.id, 1) == "interrupted, saving"


def test_ray_s_log_has_what_the_job_prints_too(make: Make, ray: Dashboard) -> None:
    jobs = make(FAILS)
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    wait_for(lambda: ray.jobs[job.id].raw["status"] == "FAILED")
    assert ray.jobs[job.id].log.read_text() == jobs.whole_log(job.id)
    assert ray.jobs[job.id].raw["driver_exit_code"] == 1


def test_a_job_takes_no_cpu_from_the_work_and_shows_no_secret(
    make: Make, ray: Dashboard, settings: Settings
) -> None:
    secret = settings.model_copy(update={"database_url": "postgresql://ada:secret@db/loop"})
    jobs = make(TELLS)
    jobs._settings = secret
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    raw = ray.jobs[job.id].raw
    assert raw["entrypoint_num_cpus"] == 0
    assert "secret" not in json.dumps(raw)
    assert json.loads(raw["metadata"]["second-look/parameters"]) == PARAMETERS


def test_when_a_job_last_printed_something_is_known(make: Make, settings: Settings) -> None:
    jobs = make(WAITS)
    before = time.time() - 1
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    assert before < jobs.last_output(job.id)
    started(jobs, job)
    log = settings.run_dir / "jobs" / f"{job.id}.log"
    os.utime(log, (1000, 1000))
    assert jobs.last_output(job.id) == 1000


def test_a_job_that_waits_is_queued_and_can_be_stopped_before_it_begins(
    make: Make, ray: Dashboard
) -> None:
    ray.runs = False
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    assert jobs.get(job.id).state is JobState.QUEUED
    jobs.stop(job.id, actor=ENGINEER)
    ray.end(job.id, "STOPPED")
    assert jobs.get(job.id).state is JobState.STOPPED


def test_why_a_job_could_not_begin_is_in_its_log(make: Make, ray: Dashboard) -> None:
    ray.runs = False
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    ray.end(job.id, "FAILED", "The runtime environment could not be set up.", "Setting up\n")
    assert jobs.get(job.id).state is JobState.FAILED
    assert jobs.log(job.id, 5) == "Setting up\nThe runtime environment could not be set up."


def test_a_job_of_a_cluster_that_was_started_anew_is_lost(
    make: Make, ray: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_jobs, "_START_SECONDS", 0.0)
    ray.runs = False
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    ray.jobs.clear()
    assert (jobs.get(job.id).state, jobs.get(job.id).exit_code) == (JobState.FAILED, None)


def test_a_job_on_its_way_to_ray_is_not_taken_for_lost(make: Make, ray: Dashboard) -> None:
    ray.runs = False
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    taken = ray.jobs.pop(job.id)  # as another process sees it that looks at this moment
    assert make(WAITS).jobs()[0].state is JobState.QUEUED
    ray.jobs[job.id] = taken
    ray.end(job.id, "SUCCEEDED")
    assert jobs.get(job.id).state is JobState.SUCCEEDED


@pytest.fixture
def elsewhere(settings: Settings, ray: Dashboard) -> RayTrainingJobs:
    """Of a cluster on other machines, which takes jobs and never runs them."""
    ray.runs = False
    settings = settings.model_copy(update={"storage_url": "s3://bucket/prefix"})
    return RayTrainingJobs(
        settings, open_units_of_work(settings), find=lambda _: Place(ray.url, here=False)
    )


def test_a_job_elsewhere_is_on_record_once_its_package_is_there(
    elsewhere: RayTrainingJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Job]] = []

    def upload(self: RayJobs, package: Path, digest: str) -> str:
        seen.append(elsewhere.jobs())
        return f"gcs://{digest}.zip"

    monkeypatch.setattr(RayJobs, "upload", upload)
    job = elsewhere.propose("1", actor=ENGINEER)
    assert seen == [[]]
    assert [each.id for each in elsewhere.jobs()] == [job.id]


def test_a_job_whose_cluster_does_not_answer_says_so_until_it_is_given_up(
    elsewhere: RayTrainingJobs,
    ray: Dashboard,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_jobs, "_SILENCE_SECONDS", 0.0)
    job = elsewhere.propose("1", actor=ENGINEER)
    with pytest.raises(Conflict, match="is queued"):
        elsewhere.give_up(job.id, actor=ENGINEER)
    ray.drops = 1000
    silent = elsewhere.get(job.id)
    assert silent.state.active
    assert f"{ray.url} does not answer" in silent.silence
    assert "does not answer" in elsewhere.log(job.id, 5)
    with pytest.raises(NotAllowed):
        elsewhere.give_up(job.id, actor=REVIEWER)
    elsewhere.give_up(job.id, actor=ENGINEER)
    after = elsewhere.get(job.id)
    assert (after.state, after.exit_code, after.silence) == (JobState.FAILED, None, "")
    assert "Given up" in elsewhere.log(job.id, 5)
    assert events(settings)[-1] == ("measurement.stopped", Outcome.DONE, "quiet-otter")


def test_a_job_elsewhere_that_its_cluster_does_not_know_is_lost_and_its_log_says_why(
    elsewhere: RayTrainingJobs, ray: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_jobs, "_START_SECONDS", 0.0)
    job = elsewhere.propose("1", actor=ENGINEER)
    ray.jobs.clear()
    assert elsewhere.get(job.id).state is JobState.FAILED
    assert "does not know this job" in elsewhere.log(job.id, 5)


def test_the_log_of_a_job_elsewhere_is_not_fetched_for_each_look_at_it(
    elsewhere: RayTrainingJobs, ray: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_jobs, "_KNOWN_SECONDS", 600.0)
    job = elsewhere.propose("1", actor=ENGINEER)
    ray.jobs[job.id].log.write_text("one\ntwo\n")
    assert elsewhere.log(job.id, 1) == "two"
    assert elsewhere.log(job.id, 2) == "one\ntwo"
    elsewhere.last_output(job.id)
    assert sum(line.endswith("/logs") for line in ray.asked) == 1


def test_what_runs_here_is_told_without_asking_other_clusters(
    elsewhere: RayTrainingJobs, make: Make, ray: Dashboard
) -> None:
    elsewhere.propose("1", actor=ENGINEER)
    ray.asked.clear()
    here = make(WAITS)
    assert here.blocking() is None
    here.end()
    assert ray.asked == []


def test_a_stop_that_does_not_reach_the_cluster_is_on_record_as_failed(
    elsewhere: RayTrainingJobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: RayJobs, job_id: str) -> None:
        raise Unavailable("It does not answer.")

    monkeypatch.setattr(RayJobs, "stop", stop)
    job = elsewhere.propose("1", actor=ENGINEER)
    with pytest.raises(Unavailable):
        elsewhere.stop(job.id, actor=ENGINEER)
    assert events(settings)[-2:] == [
        ("measurement.stopped", Outcome.INTENDED, "quiet-otter"),
        ("measurement.stopped", Outcome.FAILED, "quiet-otter"),
    ]


def test_what_was_never_heard_of_is_not_waited_for(
    elsewhere: RayTrainingJobs, ray: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_jobs, "_FIRST_SILENCE_SECONDS", 0.0)
    ray.drops = 1000
    with pytest.raises(Unavailable, match="does not answer"):
        elsewhere.follow("sl-kfold-0000000a", print)


def test_a_job_that_another_process_forgets_meanwhile_is_left_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make(TELLS)
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    monkeypatch.setattr(jobs._files, "_known", lambda: [job.id, "sl-kfold-ffffffff"])
    assert [each.id for each in jobs.jobs()] == [job.id]


def test_a_job_that_ray_does_not_take_is_none(make: Make, ray: Dashboard) -> None:
    ray.token = "another"
    jobs = make(WAITS)
    with pytest.raises(Misconfigured, match="does not accept the token"):
        jobs.start(PARAMETERS, actor=ENGINEER)
    assert jobs.jobs() == []


def test_a_log_is_followed_over_silence_to_its_end(
    make: Make, ray: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_jobs, "_FOLLOW_SECONDS", 0.01)
    ray.runs = False
    elsewhere = make(WAITS)
    # Of another home, so that all of it is asked of Ray.
    job = elsewhere.start(PARAMETERS, actor=ENGINEER)
    elsewhere._files.forget(job.id)
    texts = iter(["one\n", "one\ntwo\n", "one\ntwo\nthree\n"])
    heard: list[str] = []

    def write(text: str) -> None:
        heard.append(text)
        ray.drops = 3
        following = next(texts, None)
        if following is None:
            ray.end(job.id, "SUCCEEDED", log="one\ntwo\nthree\n")
        else:
            ray.jobs[job.id].log.write_text(following)

    last = elsewhere.follow(job.id, write)
    assert last.state is JobState.SUCCEEDED
    assert "".join(heard) == "one\ntwo\nthree\n"


def test_jobs_of_others_on_the_same_cluster_are_listed(make: Make, ray: Dashboard) -> None:
    ray.runs = False
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    jobs._files.forget(job.id)
    ray.jobs["raysubmit_1"] = ray.jobs[job.id].__class__(
        ray.jobs[job.id].raw | {"submission_id": "raysubmit_1", "metadata": {}},
        ray.jobs[job.id].log,
    )
    (found,) = jobs.all_jobs()
    assert (found.id, found.kind, found.started_by) == (job.id, JobKind.KFOLD, "quiet-otter")
    assert jobs.jobs() == []


def test_ending_interrupts_what_runs_and_waits_for_it(make: Make, settings: Settings) -> None:
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    started(jobs, job)
    make(WAITS).end()
    assert jobs.jobs()[0].state is JobState.STOPPED
    assert events(settings)[-1] == ("training.stopped", Outcome.DONE, settings.actor)


def test_only_who_may_train_starts_and_stops(make: Make) -> None:
    jobs = make(WAITS)
    job = jobs.start(PARAMETERS, actor=ENGINEER)
    for call in (
        lambda: jobs.start(PARAMETERS, actor=REVIEWER),
        lambda: jobs.propose("1", actor=REVIEWER),
        lambda: jobs.measure(["1"], actor=REVIEWER),
        lambda: jobs.stop(job.id, actor=REVIEWER),
    ):
        with pytest.raises(NotAllowed):
            call()
    assert jobs.jobs()[0].state.active


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K_FOLDS", 1),
        ("K_FOLDS", 51),
        ("EPOCHS", 0),
        ("EPOCHS", None),
        ("IMG_SIZE", 100),
        ("SEED", -1),
        ("BATCH_SIZE", "many"),
        ("BASE_MODEL", "/etc/passwd"),
        ("BASE_MODEL", "../other.pt"),
        ("BASE_MODEL", "[1, 2]"),
        ("BASE_MODEL", ""),
        ("CPUS_PER_FOLD", 4),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_starts(
    make: Make, settings: Settings, name: str, value: object
) -> None:
    jobs = make(WAITS)
    with pytest.raises(InvalidInput, match=name):
        jobs.start({**PARAMETERS, name: value}, actor=ENGINEER)
    assert jobs.jobs() == []
    assert events(settings) == []


@pytest.mark.parametrize("name", ["champion", "small.pt", "weights/first.v2.pt", "yolo11n.yaml"])
def test_a_base_model_is_a_name_in_the_workspace(make: Make, name: str) -> None:
    jobs = make(TELLS)
    job = ended(jobs, jobs.start({"BASE_MODEL": name}, actor=ENGINEER))
    assert json.loads(jobs.log(job.id, 1))["arguments"][-1] == f"BASE_MODEL={name}"


def test_the_form_s_fields_come_with_their_bounds_and_the_workspace_s_values(make: Make) -> None:
    fields = {field.name: field for field in make(TELLS).defaults()}
    assert list(fields) == [
        *("K_FOLDS", "EPOCHS", "BATCH_SIZE", "IMG_SIZE", "PATIENCE", "SEED", "BASE_MODEL")
    ]
    assert (fields["K_FOLDS"].minimum, fields["K_FOLDS"].maximum) == (2, 50)
    assert fields["IMG_SIZE"].step == 32
    assert fields["EPOCHS"].default == 7
    assert fields["BASE_MODEL"].default == "small.pt"


def test_the_form_has_fields_where_there_is_no_workspace_yet(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    nowhere = settings.model_copy(update={"workspace": tmp_path / "nowhere"})
    fields = {field.name: field.default for field in make(TELLS, settings=nowhere).defaults()}
    assert fields["EPOCHS"] == 50
    assert not (tmp_path / "nowhere").exists()


def test_the_workspace_s_setting_is_a_path_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDLOOK_WORKSPACE", "here")
    assert load_settings().workspace == tmp_path / "here"
    monkeypatch.setenv("SECONDLOOK_WORKSPACE", "")
    assert load_settings().workspace is None


@pytest.mark.slow
def test_the_home_gets_a_workspace_with_the_first_training(
    make: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = make(TELLS, settings=settings.model_copy(update={"workspace": None}))
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    assert json.loads(jobs.log(job.id, 1))["folder"] == str(settings.home / "workspace")
    assert (settings.home / "workspace" / "params.yaml").is_file()


def test_without_a_workspace_in_the_home_the_one_that_the_app_starts_in_is_taken(
    make: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.workspace is not None
    monkeypatch.chdir(settings.workspace)
    jobs = make(TELLS, settings=settings.model_copy(update={"workspace": None}))
    job = ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER))
    assert json.loads(jobs.log(job.id, 1))["folder"] == str(settings.workspace)


def test_a_folder_that_is_no_workspace_is_refused_and_this_is_on_record(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dvc.yaml").touch()
    other = settings.model_copy(update={"workspace": tmp_path / "other"})
    with pytest.raises(Misconfigured, match="not a workspace"):
        make(TELLS, settings=other).start(PARAMETERS, actor=ENGINEER)
    assert events(settings)[-1] == ("training.requested", Outcome.FAILED, "quiet-otter")


@pytest.mark.parametrize("job_id", ["sl-kfold-ffffffff", "../up", ""])
def test_an_unknown_job_is_not_found(make: Make, job_id: str) -> None:
    jobs = make(TELLS)
    with pytest.raises(NotFound):
        jobs.log(job_id, 5)
    with pytest.raises(NotFound):
        jobs.stop(job_id, actor=ENGINEER)


def test_old_jobs_are_forgotten_with_their_files(
    make: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_files, "_MOST_KEPT", 2)
    jobs = make(TELLS)
    ids = [ended(jobs, jobs.start(PARAMETERS, actor=ENGINEER)).id for _ in range(3)]
    assert [job.id for job in jobs.jobs()] == ids[:0:-1]
    assert not list((settings.run_dir / "jobs").glob(f"{ids[0]}.*"))

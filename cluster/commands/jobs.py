"""``secondlook jobs``: trainings that go on without whoever asked for them, on Ray."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.commands.parameters import LabelsOption, parsed
from cluster.console import err, out, print_json, print_table, when
from cluster.context import JsonOption, engineer, settings_of
from cluster.training_jobs import JobRequest, RayTrainingJobs, open_training_jobs
from loop.errors import InvalidInput, LoopError
from loop.snapshots import Labels
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from store.workspace import Workspace
from train.params import Params, load_params
from train.paths import PARAMS
from ui.operations import Job, JobKind, JobState

group = typer.Typer(
    help="Trainings that go on without whoever asked for them, as jobs of Ray.",
    no_args_is_help=True,
)
_INTERRUPTED = 130
_TRAININGS = (JobKind.KFOLD, JobKind.STANDARD, JobKind.SEARCH)


class What(StrEnum):
    KFOLD = "kfold"
    SEARCH = "search"
    STANDARD = "standard"
    STAGE = "stage"


JobArgument = Annotated[str, typer.Argument(metavar="ID", help="As `jobs list` shows it.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="jobs")


@group.command()
def submit(
    context: typer.Context,
    what: Annotated[What, typer.Argument(help="As `train kfold`, `train search`, `train run`.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STAGE] [-- NAME=VALUE…]",
            help="With `stage` the stage's name; after -- parameters to change first.",
        ),
    ] = None,
    labels: LabelsOption = Labels.ADJUDICATED,
    trials: Annotated[int | None, typer.Option(min=1, help="Of a search: how many to try.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show what it prints until it has ended.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Hand in a training of this workspace: to what is up here, else to a cluster elsewhere."""
    settings = settings_of(context)
    request = _request(Workspace(Path.cwd()), what, words or [], labels, trials)
    jobs = _open(settings)
    job = jobs.submit(request, actor=engineer(settings))
    if json and not wait:
        print_json(_as_dict(job))
        return
    if not json:
        out.print(f"Job {job.id} is handed in.", highlight=False)
    if wait:
        _follow(jobs, job.id, as_json=json)
    else:
        out.print(f"  secondlook jobs logs -f {job.id}", highlight=False)


@group.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """The jobs of this home, and those that others run on the same cluster."""
    settings = settings_of(context)
    jobs = _open(settings).all_jobs()
    runs = _runs(settings, jobs)
    if json:
        print_json([_as_dict(job) | {"mlflow_run_id": runs.get(job.id)} for job in jobs])
        return
    print_table(
        "Jobs",
        ("id", "what", "state", "started by", "started", "ended", "MLflow run"),
        [
            (
                job.id,
                job.kind,
                f"{job.state}, no answer" if job.silence else job.state,
                job.started_by,
                when(job.started_at),
                when(job.ended_at),
                runs.get(job.id, "")[:8],
            )
            for job in jobs
        ],
    )
    for silence in dict.fromkeys(job.silence for job in jobs if job.silence):
        err.print(
            f"{silence}\n  Try: secondlook doctor. If that cluster is gone for good: secondlook "
            "jobs stop ID --gone",
            highlight=False,
            markup=False,
        )


@group.command()
def logs(
    context: typer.Context,
    job_id: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it has ended. Exit code 0 if well.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What a job has printed."""
    jobs = _open(settings_of(context))
    if follow:
        _follow(jobs, job_id, as_json=json)
    elif json:
        print_json(_as_dict(jobs.get(job_id)) | {"log": jobs.whole_log(job_id)})
    else:
        sys.stdout.write(jobs.whole_log(job_id))


@group.command()
def stop(
    context: typer.Context,
    job_id: JobArgument,
    gone: Annotated[
        bool,
        typer.Option("--gone", help="Its cluster is gone for good: write it down as lost."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Ask a job to end: it saves what it has, and puts on record that it was interrupted."""
    settings = settings_of(context)
    jobs = _open(settings)
    if gone:
        jobs.give_up(job_id, actor=engineer(settings))
    else:
        jobs.stop(job_id, actor=engineer(settings))
    if json:
        print_json(_as_dict(jobs.get(job_id)))
    elif gone:
        out.print(f"Job {job_id} is written down as lost.", highlight=False)
    else:
        out.print(
            f"Job {job_id} was told to end: secondlook jobs logs -f {job_id}", highlight=False
        )


@group.command()
def fetch(
    context: typer.Context,
    job_id: JobArgument,
    workspace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: the one that this is called in.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring what a job on a cluster elsewhere has made into the workspace."""
    from cluster.job_entry import fetch_result

    folder = Workspace(workspace or Path.cwd())
    rev, there = fetch_result(settings_of(context), job_id, folder)
    if json:
        print_json({"job": job_id, "dvc_rev": rev, "branch": f"jobs/{job_id}", "merged": there})
    elif there:
        out.print(f"The workspace is at {rev[:12]}, with its data and models.", highlight=False)
    else:
        out.print(
            f"The workspace has gone on by itself: {rev[:12]} is its branch jobs/{job_id}.\n"
            f"  git merge jobs/{job_id} && dvc pull --remote second-look",
            highlight=False,
        )


def _request(
    workspace: Workspace, what: What, words: Sequence[str], labels: Labels, trials: int | None
) -> JobRequest:
    kind, changes = JobKind(what.value), list(words)
    stage = changes.pop(0) if what is What.STAGE and changes and "=" not in changes[0] else ""
    values = parsed(changes)
    params = load_params(workspace.folder / PARAMS, values)
    if trials is not None and what is not What.SEARCH:
        raise InvalidInput("Only a search has trials.", hint="Leave out --trials.")
    arguments = {What.STANDARD: ["train", "run"]}.get(what, ["train", what.value])
    parameters: dict[str, Any] = dict(values)
    if what is What.STAGE:
        _check_stage(workspace, stage)
        arguments, parameters = [*arguments, stage], {"stage": stage, **parameters}
    elif labels is not Labels.ADJUDICATED:
        arguments += ["--labels", labels.value]
        parameters = {"labels": labels.value, **parameters}
    if trials is not None:
        arguments += ["--trials", str(trials)]
        parameters = {"trials": trials, **parameters}
    arguments += [word for change in changes for word in ("-S", change)]
    weights = _weights(workspace, params)
    return JobRequest(kind, parameters, arguments, workspace.folder, weights)


def _check_stage(workspace: Workspace, stage: str) -> None:
    stages = workspace.stages()
    if stage not in stages:
        said = f"There is no stage {stage!r}." if stage else "Which stage?"
        raise InvalidInput(said, hint=f"There are {', '.join(stages)}.")


def _weights(workspace: Workspace, params: Params) -> tuple[Path, ...]:
    """Files of the workspace that a training starts from: git does not have them."""
    named = (Path(params.BASE_MODEL), Path(params.ARCHITECTURE))
    own = (path for path in named if not path.is_absolute() and ".." not in path.parts)
    return tuple(path for path in own if (workspace.folder / path).is_file())


def _follow(jobs: RayTrainingJobs, job_id: str, *, as_json: bool = False) -> None:
    """Until its end, with an exit code that tells of it. Ctrl-C ends the following alone."""
    stream = sys.stderr if as_json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    try:
        job = jobs.follow(job_id, write)
    except KeyboardInterrupt:
        err.print(f"The job goes on: secondlook jobs logs -f {job_id}", highlight=False)
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        print_json(_as_dict(job))
    else:
        code = "" if job.exit_code is None else f" (exit code {job.exit_code})"
        err.print(f"Job {job_id} {job.state}{code}.", highlight=False)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


def _runs(settings: Settings, jobs: Sequence[Job]) -> dict[str, str]:
    """Their MLflow runs by job, as far as MLflow can be asked."""
    trainings = [job.id for job in jobs if job.kind in _TRAININGS or job.kind is JobKind.STAGE]
    if not trainings:
        return {}
    from store.tracking import PARENT_TAG, open_tracking  # seconds of MLflow
    from train.run_record import JOB_TAG

    found = {}
    with contextlib.suppress(LoopError):
        tracking = open_tracking(settings)
        for job_id in trainings:
            runs = tracking.runs({JOB_TAG: job_id}, 50)
            whole = [run.run_id for run in runs if PARENT_TAG not in run.tags]
            if whole:
                found[job_id] = whole[0]
    return found


def _open(settings: Settings) -> RayTrainingJobs:
    return open_training_jobs(settings, open_units_of_work(settings))


def _as_dict(job: Job) -> dict[str, Any]:
    return asdict(job)

"""What the training page needs from above ``ui``: jobs, and the swap into the running service.

``cluster`` implements them as jobs of Ray, on this machine or on a cluster elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from loop.events import Actor
from loop.promoting import Swap


class JobKind(StrEnum):
    KFOLD = "kfold"  # trains k folds and registers a final model as candidate
    PROPOSE = "propose"  # measures a version and the champion, and records the verdict
    MEASURE = "measure"  # measures versions again, and proposes none
    STANDARD = "standard"  # trains once, on a split into train and val
    SEARCH = "search"  # looks for hyperparameters
    STAGE = "stage"  # runs one stage of the pipeline, and what that needs


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"  # asked to end, and still saving what it has
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def active(self) -> bool:
        return self in (JobState.QUEUED, JobState.RUNNING, JobState.STOPPING)


@dataclass(frozen=True, slots=True)
class Job:
    """Times are RFC 3339 in UTC, empty while there is none; ``started_by`` is a pseudonym.

    ``exit_code`` is None while it runs, and where nobody was left to see the job end. ``silence``
    says why nothing new is known of it, where its cluster does not answer; the state is then the
    last one that can be told.
    """

    id: str
    kind: JobKind
    state: JobState
    started_by: str
    parameters: Mapping[str, Any]
    started_at: str
    ended_at: str = ""
    exit_code: int | None = None
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of the form: text if ``default`` is, else a whole number within the bounds, which
    are inclusive. ``step`` is what the number must be a multiple of."""

    name: str
    text: str
    default: int | str
    minimum: int | None = None
    maximum: int | None = None
    step: int = 1


class TrainingJobs(Protocol):
    """Jobs of one home.

    On this machine one runs at a time: what starts one raises `Conflict` while another does. It
    raises `Unavailable` where no cluster can be reached, and `NotAllowed`, as `stop` does, for
    whoever may not train.
    """

    def defaults(self) -> tuple[Parameter, ...]:
        """What a training may be told, with what the workspace's ``params.yaml`` says now."""

    def start(self, parameters: Mapping[str, Any], *, actor: Actor) -> Job:
        """Train k folds. Raises `InvalidInput` naming the parameter that is wrong."""

    def propose(self, version: str, *, actor: Actor) -> Job:
        """Measure a version against the champion on the gold set, for a verdict."""

    def measure(self, versions: Sequence[str], *, actor: Actor) -> Job:
        """Measure versions on the gold set to keep what they see there."""

    def jobs(self) -> list[Job]:
        """The latest ones, newest first."""

    def blocking(self) -> Job | None:
        """The one that must end before another can start. Raises `Unavailable` where none can."""

    def log(self, job_id: str, lines: int) -> str:
        """The last lines of what a job printed. Raises `NotFound`."""

    def stop(self, job_id: str, *, actor: Actor) -> None:
        """Ask a job to end. Raises `NotFound`, `Conflict` if it has ended."""


@dataclass(frozen=True, slots=True)
class Operations:
    """``find_swap`` gives how to swap a model into what runs now; None if nothing does.
    ``min_confidence`` is from where on the service shows a detection; ``approvers`` is how many
    different people must approve a candidate."""

    jobs: TrainingJobs
    find_swap: Callable[[], Swap | None]
    min_confidence: float = 0.25
    approvers: int = 1

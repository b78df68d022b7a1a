"""What the training page is given, in memory: runs, jobs, a registry, and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from loop.access import Permission, Person
from loop.errors import Conflict, InvalidInput, NotFound
from loop.events import Actor, Event, Role
from loop.gate_record import GateRecord
from loop.gold import GoldDetections, detections_path
from loop.predictions import ModelRef
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from store.model_registry import ModelVersion
from store.tracking import MetricPoint, RunInfo
from tests.fakes import FakeDatabase
from ui.operations import Job, JobKind, JobState, Parameter, TrainingJobs

GOLD = "d" * 64
AT = "2026-02-03T04:05:06.000000Z"
# When the first epoch of each fold ended, and what the others take.
_FIRST_EPOCH, EPOCH_SECONDS = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), 30
LOSSES = ("box_loss", "cls_loss", "dfl_loss")


def at_epoch(number: int) -> str:
    """When the epoch of that number ended."""
    at = _FIRST_EPOCH + timedelta(seconds=EPOCH_SECONDS * (number - 1))
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def person(*roles: Role, pseudonym: str = "quiet-otter") -> Person:
    return Person("account-1", "otter@example.test", "O. Otter", pseudonym, frozenset(roles))


ENGINEER, AUDITOR = person(Role.ENGINEER), person(Role.AUDITOR)


def model(version: str) -> ModelRef:
    return ModelRef("detector", version, f"{int(version):064x}")


class FakeTracking:
    """``asked`` counts the calls by name."""

    def __init__(self) -> None:
        self.known: dict[str, RunInfo] = {}
        self.children: dict[str, list[str]] = {}
        self.histories: dict[tuple[str, str], list[MetricPoint]] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self.asked: dict[str, int] = {}

    def cv(self, run_id: str, status: str = "RUNNING", **tags: str) -> str:
        """Any run that has others below it; a tag says when it is no cross-validation."""
        params = {"K_FOLDS": "2", "EPOCHS": "5", "BASE_MODEL": "<champion>"}
        self._put(run_id, status, {"loop.kind": "cv", **tags}, params, {})
        self.children.setdefault(run_id, [])
        return run_id

    def fold(self, parent: str, number: int, epochs: int, status: str = "RUNNING", **t: str) -> str:
        """A fold with so many epochs behind it: mAP50 rises by a tenth, losses are 1."""
        run_id = f"{parent}-{number}"
        if run_id not in self.children[parent]:
            self.children[parent].insert(0, run_id)
        metrics = {"epoch": float(epochs), "seconds": 10.0} if epochs else {}
        tags = {"loop.kind": "fold", "loop.fold": str(number), **t}
        self._put(run_id, status, tags, {"EPOCHS": "5"}, metrics)
        steps = range(1, epochs + 1)
        self.histories[run_id, "epoch"] = [MetricPoint(n, n, at_epoch(n)) for n in steps]
        for name in ("map50", "map50_95"):
            self.histories[run_id, name] = [MetricPoint(n, n / 10, AT) for n in steps]
        for part in ("train", "val"):
            for loss in LOSSES:
                points = [MetricPoint(n, 1.0, AT) for n in steps]
                self.histories[run_id, f"{part}_{loss}"] = points
        return run_id

    def trial(
        self,
        search: str,
        number: int,
        score: float | None,
        status: str = "RUNNING",
        *,
        lr0: str = "0.01",
        **tags: str,
    ) -> str:
        """A trial of the search, after two epochs if it has a score."""
        run_id = f"{search}-trial-{number}"
        self.children[search].insert(0, run_id)
        self.children[run_id] = []
        metrics = {} if score is None else {"objective": score, "epoch": 2.0}
        own = {"loop.kind": "trial", "loop.trial": str(number), **tags}
        self._put(run_id, status, own, {"EPOCHS": "5", "train.lr0": lr0}, metrics)
        return run_id

    def machine(self, run_id: str) -> None:
        """The run's worker has begun to log what its machine does."""
        run = self.known[run_id]
        metrics = {**run.metrics, "system/cpu_utilization_percentage": 50.0}
        self._put(run_id, run.status, run.tags, run.params, metrics)

    def top_runs(self, limit: int) -> list[RunInfo]:
        self._count("top_runs")
        below = {child for children in self.children.values() for child in children}
        return [run for run in reversed(self.known.values()) if run.run_id not in below][:limit]

    def run(self, run_id: str) -> RunInfo:
        self._count("run")
        if run_id not in self.known:
            raise NotFound("MLflow has no such record.")
        return self.known[run_id]

    def child_runs(self, run_id: str) -> list[RunInfo]:
        self._count("child_runs")
        return [self.known[child] for child in self.children[run_id]]

    def metric_history(self, run_id: str, metric: str) -> list[MetricPoint]:
        self._count("metric_history")
        return self.histories.get((run_id, metric), [])

    def read_text(self, run_id: str, path: str) -> str:
        self._count("read_text")
        if (run_id, path) not in self.texts:
            raise NotFound("There is no such artifact.")
        return self.texts[run_id, path]

    def keep(self, seen: GoldDetections) -> None:
        """As `train.gold` does, on the run of the model."""
        path = detections_path(seen.gold_sha256, seen.model.version)
        self.texts[f"run-{seen.model.version}", path] = seen.to_json().decode()

    def _count(self, name: str) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1

    def _put(
        self,
        run_id: str,
        status: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        metrics: Mapping[str, float],
    ) -> None:
        ended = "" if status == "RUNNING" else AT
        self.known[run_id] = RunInfo(
            run_id, run_id, dict(tags), dict(params), dict(metrics), status, "", "1", AT, ended
        )


class FakeRegistry:
    """Versions by number, each made by the run ``run-N``."""

    def __init__(self, *versions: str, **aliases: str) -> None:
        self.known = list(versions)
        self.aliases = {alias: model(version) for alias, version in aliases.items()}
        self.tags: dict[str, dict[str, str]] = {}

    def versions(self) -> list[ModelVersion]:
        return [
            ModelVersion(
                model(version),
                tuple(alias for alias, ref in self.aliases.items() if ref.version == version),
                f"run-{version}",
                {},
                AT,
            )
            for version in self.known
        ]

    def run_of(self, ref: ModelRef) -> str:
        return f"run-{ref.version}"

    def find_alias(self, alias: str) -> ModelRef | None:
        return self.aliases.get(alias)

    def set_alias(self, alias: str, ref: ModelRef) -> None:
        self.aliases[alias] = ref

    def delete_alias(self, alias: str) -> None:
        del self.aliases[alias]

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        self.tags[ref.version] = dict(tags)


class FakeJobs:
    """Jobs that start at once and end when the test says so. EPOCHS must be positive."""

    def __init__(self) -> None:
        self.made: list[Job] = []
        self.stopped: list[tuple[str, Actor]] = []
        self.text = "fold 0: epoch 1/5"

    def defaults(self) -> tuple[Parameter, ...]:
        return (
            Parameter("EPOCHS", "Passes.", 50, minimum=1),
            Parameter("BASE_MODEL", "What to start from.", "champion"),
        )

    def start(self, parameters: Mapping[str, Any], *, actor: Actor) -> Job:
        if parameters["EPOCHS"] < 1:
            raise InvalidInput(f"EPOCHS = {parameters['EPOCHS']}: it must be 1 or more.")
        return self._add(JobKind.KFOLD, dict(parameters), actor)

    def propose(self, version: str, *, actor: Actor) -> Job:
        return self._add(JobKind.PROPOSE, {"version": version}, actor)

    def measure(self, versions: Sequence[str], *, actor: Actor) -> Job:
        return self._add(JobKind.MEASURE, {"versions": list(versions)}, actor)

    def jobs(self) -> list[Job]:
        return self.made[::-1]

    def blocking(self) -> Job | None:
        return next((job for job in self.made if job.state.active), None)

    def log(self, job_id: str, lines: int) -> str:
        return "\n".join(self.text.splitlines()[-lines:])

    def stop(self, job_id: str, *, actor: Actor) -> None:
        self.stopped.append((job_id, actor))

    def end(self, state: JobState, exit_code: int | None) -> None:
        """End the last one."""
        last = self.made[-1]
        self.made[-1] = Job(
            last.id, last.kind, state, last.started_by, last.parameters, AT, AT, exit_code
        )

    def _add(self, kind: JobKind, parameters: Mapping[str, Any], actor: Actor) -> Job:
        if any(job.state.active for job in self.made):
            raise Conflict("Another job is running since 04:05 UTC.")
        job = Job(f"{len(self.made):032x}", kind, JobState.RUNNING, actor.pseudonym, parameters, AT)
        self.made.append(job)
        return job


def score(ref: ModelRef, value: float) -> GoldScore:
    return GoldScore(ref, value, value, {"cell": value, "rod": value}, 40, GOLD)


def promotion(
    candidate: str,
    champion: str | None = None,
    *,
    verdict: Verdict = Verdict.PROMOTE,
    state: PromotionState = PromotionState.PROPOSED,
    at: str = AT,
    gate: GateRecord | None = None,
    approvers: int = 1,
) -> Promotion:
    return Promotion(
        id=f"promotion-{candidate}",
        candidate=model(candidate),
        champion=model(champion) if champion else None,
        candidate_score=score(model(candidate), 0.6),
        champion_score=score(model(champion), 0.5) if champion else None,
        decision=Decision(verdict, ("mAP50-95 0.500 to 0.600 (+0.100).",), gate),
        state=state,
        created_at=at,
        approvers=approvers,
    )


def database(*promotions: Promotion) -> FakeDatabase:
    made = FakeDatabase()
    with made.units() as uow:
        for each in promotions:
            uow.promotions.add(each)
        uow.record(Event("test.happened", Actor("gate", Role.SYSTEM), {}))
        uow.commit()
    made.events.clear()
    return made


def acting(who: Person = ENGINEER) -> Actor:
    return who.acting(Permission.TRAIN)


if TYPE_CHECKING:
    _jobs: TrainingJobs = FakeJobs()

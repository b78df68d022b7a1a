"""What is on record of a model, as it was gathered, for its technical documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loop.cases import Source as AnnotationSource
from loop.classes import ClassList
from loop.errors import BrokenRecord
from loop.predictions import ModelRef
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.promotions import Promotion
from loop.reliability import Reliability
from loop.snapshots import SnapshotRecord
from loop.techfile import Cited, Evidence, Log, Source
from loop.techfile_operator import Operator

# Stands in a table where there is no value.
DASH = "\N{EN DASH}"
# The names in an event's subject for the model that it is about.
_OWN = ("model", "candidate")


@dataclass(frozen=True, slots=True)
class Run:
    """A run in MLflow; ``fold`` is empty for others than folds. Times are RFC 3339 in UTC.
    ``peaks`` are the highest values of what the machine did, by names of `store.system_metrics`."""

    run_id: str
    name: str
    fold: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""
    peaks: Mapping[str, float] = field(default_factory=dict)

    @property
    def evidence(self) -> Evidence:
        return Evidence(Source.RUN, self.run_id, f"MLflow run {self.name}")


@dataclass(frozen=True, slots=True)
class Version:
    """What the registry says of a version; ``signature`` is its SHA-256, ``key`` who signed it."""

    ref: ModelRef
    aliases: tuple[str, ...]
    run_id: str
    registered_at: str
    classes: ClassList
    tags: Mapping[str, str]
    exports: Mapping[str, str]
    signature: str = ""
    key: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What the shards say that their manifest does not: images by where they came from, by subject,
    by who answered; boxes by what became of a detection; images and boxes sizes in pixels."""

    sources: Mapping[str, int]
    answers: Mapping[str, int]
    origins: Mapping[str, int]
    images_per_subject: Sequence[int]
    reviewers: int
    widths: tuple[int, int]
    heights: tuple[int, int]
    models: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Oversight:
    """The people's work in this home: by the database, over all models."""

    done: Done = field(default_factory=Done)
    seconds: ActiveSeconds = field(default_factory=ActiveSeconds)
    verdicts: Mapping[int, Verdicts] = field(default_factory=dict)
    annotations: Mapping[AnnotationSource, int] = field(default_factory=dict)
    agreement: Sequence[Reliability] = ()
    read_twice: int = 0


@dataclass(frozen=True, slots=True)
class Doors:
    """Who comes in, and how: accounts by role, API keys by scope, and settings by name."""

    roles: Mapping[str, int] = field(default_factory=dict)
    scopes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Records:
    """``events`` are of the audit log, by index, oldest first. ``earlier`` is how many there are
    of the life cycle beyond those. ``software`` are versions by name. ``drift`` is
    what drift is measured against, ``no_drift`` why against nothing."""

    version: Version
    made_at: str
    made_by: str
    operator: Operator
    events: Sequence[Cited] = ()
    left_out: int = 0
    log: Log | None = None
    run: Run | None = None
    folds: Sequence[Run] = ()
    snapshot: SnapshotRecord | None = None
    shards: SnapshotFacts | None = None
    promotion: Promotion | None = None
    oversight: Oversight = field(default_factory=Oversight)
    doors: Doors = field(default_factory=Doors)
    software: Mapping[str, str] = field(default_factory=dict)
    drift: str = ""
    no_drift: str = ""

    @property
    def ref(self) -> ModelRef:
        return self.version.ref

    def of_types(self, *types: str) -> list[Cited]:
        """By whole type or by what stands before its dot."""
        return [e for e in self.events if {e.event.type, e.event.type.split(".")[0]} & {*types}]

    def about_model(self, *types: str) -> list[Cited]:
        """As `of_types`, of those that are about this version, and not only name it beside."""
        return [
            e
            for e in self.of_types(*types)
            if any(names_model(e.event.subject.get(own), self.ref) for own in _OWN)
        ]

    def about(self, name: str, value: str, *types: str) -> list[Cited]:
        """As `of_types`, of those whose subject has ``name`` with that ``value``."""
        return [e for e in self.of_types(*types) if value and e.event.subject.get(name) == value]

    @property
    def registered_evidence(self) -> tuple[Evidence, ...]:
        """Of this version: the event of its registration, else MLflow's registry by the run."""
        found = self.about_model("model.registered", "model.quantised")
        run = Evidence(Source.RUN, self.version.run_id, "MLflow run that made the version")
        return (found[-1].evidence, run) if found else (run,)

    @property
    def software_evidence(self) -> tuple[Evidence, ...]:
        version = self.software.get("second-look", "")
        return (Evidence(Source.SOFTWARE, "second-look", f"Second Look {version}".strip()),)

    @property
    def database_evidence(self) -> tuple[Evidence, ...]:
        return (Evidence(Source.DATABASE, self.made_at, "the database when this was made"),)

    def setting(self, name: str) -> str:
        return self.doors.settings.get(name, DASH)

    def setting_evidence(self, *names: str) -> tuple[Evidence, ...]:
        return tuple(Evidence(Source.SETTING, name, f"setting {name}") for name in names)


def names_model(value: Any, ref: ModelRef) -> bool:
    if not isinstance(value, Mapping):
        return False
    return value.get("name") == ref.name and str(value.get("version")) == ref.version


def events_of(cited: Sequence[Cited]) -> tuple[Evidence, ...]:
    return tuple(each.evidence for each in cited)


def number(value: Any, digits: int = 3) -> str:
    """A score or a count as it is printed; a dash where there is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def day(at: str) -> str:
    """To the second, as people read it, of an RFC 3339 time in UTC."""
    if not at:
        raise BrokenRecord("A record has no time.")
    return f"{at[:19].replace('T', ' ')} UTC"


def snapshot_evidence(records: Records) -> tuple[Evidence, ...]:
    """The event of the snapshot that the model was trained on, and its manifest."""
    snapshot = records.snapshot
    sha256 = snapshot.sha256 if snapshot else ""
    found = records.about("snapshot_sha256", sha256, "snapshot.created")
    file = Evidence(Source.FILE, sha256, "the snapshot's manifest.json")
    return (*events_of(found[-1:]), file)

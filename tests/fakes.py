"""In-memory stand-ins for what `loop.ports` asks of the outside."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from loop import ports
from loop.accounts import Account, Failures, Invitation, Session, login_key
from loop.agreement import Agreement, LabelledBox
from loop.api_keys import ApiKey
from loop.cases import (
    Annotation,
    BlindReview,
    Case,
    CaseState,
    SecondReview,
    Skip,
    Source,
)
from loop.classes import ClassList
from loop.corrections import Correction, FinalBox
from loop.drafts import Draft, Submission
from loop.erased import Erased
from loop.errors import BrokenRecord, Conflict, Misconfigured, NotFound, OwnCase
from loop.events import Event
from loop.images import Image
from loop.impact import Impact, Settled
from loop.leases import Hold
from loop.looks import FirstLook, SecondLook
from loop.perceptual_hash import bits_apart
from loop.predictions import Detection, ModelRef, Prediction
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.promotions import Promotion
from loop.queue import Filters, Order, Place, Placed, Viewer, place_key
from loop.recording import sealed_entry
from loop.reliability import DoubleReading
from loop.sealing import SealedText, commitment
from loop.serving_orders import ServingOrder
from loop.snapshots import SnapshotRecord
from loop.trial_counts import TrialCounts
from loop.trials import Trial

Key = TypeVar("Key")
Value = TypeVar("Value")


_WORKING_STATE = {
    "sessions",
    "sign_in_failures",
    "leases",
    "drafts",
    "trial_counts",
    "closed_trials",
}


@dataclass
class Tables:
    """The state of a `FakeDatabase`: what was committed."""

    images: dict[str, Image] = field(default_factory=dict)
    predictions: dict[str, Prediction] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    # Keyed by case id, of which each has one at most.
    corrections: dict[str, tuple[Correction, Agreement]] = field(default_factory=dict)
    second_reviews: dict[str, SecondReview] = field(default_factory=dict)
    annotations: dict[tuple[str, int], Annotation] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    snapshots: dict[str, SnapshotRecord] = field(default_factory=dict)
    promotions: dict[str, Promotion] = field(default_factory=dict)
    impacts: dict[str, Impact] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    serving_orders: dict[str, ServingOrder] = field(default_factory=dict)
    # Keyed by case id and reviewer.
    blind_reviews: dict[tuple[str, str], BlindReview] = field(default_factory=dict)
    skips: dict[tuple[str, str], Skip] = field(default_factory=dict)
    submissions: dict[str, Submission] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    invitations: dict[str, Invitation] = field(default_factory=dict)
    api_keys: dict[str, ApiKey] = field(default_factory=dict)
    image_salts: dict[str, bytes] = field(default_factory=dict)
    sealed_texts: dict[str, SealedText] = field(default_factory=dict)
    settings_in_force: dict[str, str] = field(default_factory=dict)
    # Working state, which may change without an event:
    sessions: dict[str, Session] = field(default_factory=dict)
    sign_in_failures: dict[str, Failures] = field(default_factory=dict)
    leases: dict[str, Hold] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    trial_counts: dict[str, dict[str, TrialCounts]] = field(default_factory=dict)
    closed_trials: dict[str, bool] = field(default_factory=dict)

    def audited(self) -> dict[str, object]:
        """What must not change without an event."""
        audited = (each.name for each in fields(self) if each.name not in _WORKING_STATE)
        images = {key: replace(image, phash=None) for key, image in self.images.items()}
        keys = {key: replace(each, last_used_at=None) for key, each in self.api_keys.items()}
        tables = {name: getattr(self, name) for name in audited}
        return tables | {"images": images, "api_keys": keys}

    def copy(self) -> Tables:
        return Tables(**{each.name: dict(getattr(self, each.name)) for each in fields(self)})


class FakeDatabase:
    """``units`` makes units of work on it; ``tables`` and ``events`` hold what was committed."""

    def __init__(self, classes: ClassList | None = None) -> None:
        self.tables = Tables(classes=dict(enumerate(classes or ())))
        self.events: list[Event] = []

    def units(self) -> FakeUnitOfWork:
        return FakeUnitOfWork(self)


class FakeUnitOfWork:
    """Works on a copy; ``commit`` puts it in the place of what the database holds."""

    def __init__(self, database: FakeDatabase | None = None) -> None:
        self._database = database or FakeDatabase()
        self._before = self._database.tables
        self._tables = self._before.copy()
        self._events: list[Event] = []
        self.images: ports.Images = FakeImages(self._tables)
        self.predictions: ports.Predictions = FakePredictions(self._tables)
        self.cases: ports.Cases = FakeCases(self._tables)
        self.queue: ports.Queue = FakeQueue(self._tables)
        self.leases: ports.Leases = FakeLeases(self._tables)
        self.drafts: ports.Drafts = FakeDrafts(self._tables)
        self.skips: ports.Skips = FakeSkips(self._tables)
        self.blind_reviews: ports.BlindReviews = FakeBlindReviews(self._tables)
        self.submissions: ports.Submissions = FakeSubmissions(self._tables)
        self.corrections: ports.Corrections = FakeCorrections(self._tables)
        self.second_reviews: ports.SecondReviews = FakeSecondReviews(self._tables)
        self.annotations: ports.Annotations = FakeAnnotations(self._tables)
        self.classes: ports.Classes = FakeClasses(self._tables)
        self.snapshots: ports.Snapshots = FakeSnapshots(self._tables)
        self.promotions: ports.Promotions = FakePromotions(self._tables)
        self.trials: ports.Trials = FakeTrials(self._tables)
        self.serving_orders: ports.ServingOrders = FakeServingOrders(self._tables)
        self.statistics: ports.Statistics = FakeStatistics(self._tables)
        self.impacts: ports.Impacts = FakeImpacts(self._tables)
        self.accounts: ports.Accounts = FakeAccounts(self._tables)
        self.sessions: ports.Sessions = FakeSessions(self._tables)
        self.invitations: ports.Invitations = FakeInvitations(self._tables)
        self.sign_in_failures: ports.SignInFailures = FakeSignInFailures(self._tables)
        self.api_keys: ports.ApiKeys = FakeApiKeys(self._tables)
        self.image_salts: ports.ImageSalts = FakeImageSalts(self._tables)
        self.settings_in_force: ports.SettingsInForce = FakeSettingsInForce(self._tables)
        self.sealed_texts: ports.SealedTexts = FakeSealedTexts(self._tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None  # nothing to undo: what was not committed is only in the copy

    def lock(self) -> None:
        return None  # who was faster shows at the commit

    def record(self, event: Event) -> None:
        sealed, _ = sealed_entry(event, self)  # as the outbox has it
        self._events.append(sealed)

    def commit(self) -> None:
        if self._tables.audited() != self._before.audited() and not self._events:
            raise RuntimeError("A change of state needs an audit event: call record() first.")
        if self._database.tables is not self._before:
            raise Conflict("Somebody was faster.")
        self._database.tables = self._before = self._tables.copy()
        self._database.events.extend(self._events)
        self._events = []


@dataclass
class _Fake:
    _tables: Tables


class FakeImages(_Fake):
    def add(self, image: Image) -> bool:
        if image.id in self._tables.images:
            return False
        self._tables.images[image.id] = image
        return True

    def find(self, image_id: str) -> Image | None:
        return self._tables.images.get(image_id)

    def get(self, image_id: str) -> Image:
        return _get(self._tables.images, image_id)

    def count(self) -> int:
        return len(self._tables.images)

    def gold(self) -> list[Image]:
        gold = (image for image in self._tables.images.values() if image.gold)
        return sorted(gold, key=lambda image: image.id)

    def mark_gold(self, image_ids: Sequence[str]) -> None:
        for image_id in image_ids:
            self._tables.images[image_id] = replace(self.get(image_id), gold=True)

    def near(self, phash: str, distance: int, *, gold: bool) -> list[Image]:
        return [
            image
            for _, image in sorted(self._tables.images.items())
            if image.gold == gold and image.phash and bits_apart(image.phash, phash) <= distance
        ]

    def of_subject(self, subject: str) -> list[Image]:
        images = sorted(self._tables.images.items())
        return [image for _, image in images if image.subject == subject]

    def answered_at(self, image_ids: Collection[str]) -> dict[str, str]:
        answers = [(a.image_id, a.created_at) for a in self._tables.annotations.values()]
        for correction, _ in self._tables.corrections.values():
            prediction = self._tables.predictions[correction.prediction_id]
            answers.append((prediction.image_id, correction.created_at))
        latest_first = sorted(answers, key=lambda answer: answer[1], reverse=True)
        return {image_id: at for image_id, at in latest_first if image_id in image_ids}

    def older_than(self, at: str) -> list[Image]:
        images = sorted(self._tables.images.items())
        return [image for _, image in images if image.created_at < at]

    def erase(self, image_id: str) -> Erased:
        tables = self._tables
        self.get(image_id)
        cases = {case.id for case in tables.cases.values() if case.image_id == image_id}
        for by_case in (tables.leases, tables.second_reviews):
            for case_id in cases & by_case.keys():
                del by_case[case_id]
        for by_two in (tables.blind_reviews, tables.skips):
            for key in [key for key in by_two if key[0] in cases]:
                del by_two[key]
        for rows in (tables.drafts, tables.submissions):
            for each in [key for key, row in rows.items() if row.case_id in cases]:
                del rows[each]
        impacts = [
            key
            for key, impact in tables.impacts.items()
            if image_id in {case.image_id for case in impact.cases}
        ]
        annotations = [key for key in tables.annotations if key[0] == image_id]
        predictions = [p.id for p in tables.predictions.values() if p.image_id == image_id]
        corrections = [key for key in tables.corrections if key in cases]
        for keys, rows in (
            (impacts, tables.impacts),
            (annotations, tables.annotations),
            (corrections, tables.corrections),
            (list(cases), tables.cases),
            (predictions, tables.predictions),
            ([image_id], tables.images),
        ):
            for key in keys:
                del rows[key]  # type: ignore[attr-defined]
        return Erased(
            len(predictions), len(cases), len(corrections), len(annotations), len(impacts)
        )

    def set_phash(self, hashes: Mapping[str, str]) -> None:
        for image_id, phash in hashes.items():
            self._tables.images[image_id] = replace(self.get(image_id), phash=phash)


class FakePredictions(_Fake):
    def add(self, prediction: Prediction) -> None:
        _insert(self._tables.predictions, prediction.id, prediction)

    def get(self, prediction_id: str) -> Prediction:
        return _get(self._tables.predictions, prediction_id)

    def of_image(self, image_id: str) -> list[Prediction]:
        found = (p for p in self._tables.predictions.values() if p.image_id == image_id)
        return sorted(found, key=lambda prediction: (prediction.created_at, prediction.id))


class FakeCases(_Fake):
    def add(self, case: Case) -> None:
        _insert(self._tables.cases, case.id, case)

    def get(self, case_id: str) -> Case:
        return _get(self._tables.cases, case_id)

    def move(self, case: Case, expected: CaseState) -> None:
        if self.get(case.id).state is not expected:
            raise Conflict("This case has moved on in the meantime.")
        self._tables.cases[case.id] = case

    def of_prediction(self, prediction_id: str) -> Case | None:
        found = [c for c in self._tables.cases.values() if c.prediction_id == prediction_id]
        found.sort(key=lambda case: case.is_open)  # stable: the latest of its kind stays last
        return found[-1] if found else None

    def open_of_image(self, image_id: str) -> list[Case]:
        of_image = (c for c in self._tables.cases.values() if c.image_id == image_id)
        return [case for case in of_image if case.is_open]

    def waiting(
        self, state: CaseState, *, limit: int = 50, offset: int = 0, not_by: str | None = None
    ) -> list[Case]:
        first = self._tables.corrections
        own = {case_id for case_id, (answer, _) in first.items() if answer.reviewer == not_by}
        cases = [c for c in self._tables.cases.values() if c.state is state and c.id not in own]
        cases.sort(key=lambda case: (-case.priority, case.created_at, case.id))
        return cases[offset : offset + limit]

    def counts(self) -> dict[CaseState, int]:
        return dict(Counter(case.state for case in self._tables.cases.values()))


class FakeQueue(_Fake):
    def after(
        self,
        state: CaseState,
        order: Order,
        filters: Filters,
        viewer: Viewer,
        *,
        place: Place | None,
        limit: int,
    ) -> list[Placed]:
        found = [
            Placed(case, self.place(case.id, order))
            for case in self._of(state, filters, viewer.person)
            if not case.is_open or self._is_free(case, viewer)
        ]
        found.sort(key=_place_in_order)
        if place is not None:
            behind = (place.key, place.number)
            found = [each for each in found if _place_in_order(each) > behind]
        return found[:limit]

    def place(self, case_id: str, order: Order) -> Place:
        case = _get(self._tables.cases, case_id)
        return Place(place_key(case, order), list(self._tables.cases).index(case_id) + 1)

    def count(self, state: CaseState, filters: Filters, *, not_by: str | None = None) -> int:
        return len(self._of(state, filters, not_by))

    def models(self, state: CaseState) -> list[str]:
        return sorted({case.model for case in self._of(state, Filters(), None)})

    def _of(self, state: CaseState, filters: Filters, person: str | None) -> list[Case]:
        return [
            case
            for case in self._tables.cases.values()
            if case.state is state
            and filters.class_id in (None, *case.classes)
            and filters.model in (None, case.model)
            and not (state is CaseState.SECOND and person and case.first_reviewer == person)
        ]

    def _is_free(self, case: Case, viewer: Viewer) -> bool:
        hold = self._tables.leases.get(case.id)
        mine = hold and hold.holder == viewer.person and viewer.tab in (None, hold.tab)
        held = hold and not mine and hold.expires_at > viewer.at
        return not held and (case.id, viewer.person) not in self._tables.skips


def _place_in_order(each: Placed) -> tuple[float, int]:
    return each.place.key, each.place.number


class FakeLeases(_Fake):
    def find(self, case_id: str) -> Hold | None:
        return self._tables.leases.get(case_id)

    def put(self, hold: Hold) -> None:
        self._tables.leases[hold.case_id] = hold

    def forget(self, case_id: str) -> None:
        self._tables.leases.pop(case_id, None)


class FakeDrafts(_Fake):
    def find(self, draft_id: str) -> Draft | None:
        return self._tables.drafts.get(draft_id)

    def live(self, case_id: str, reviewer: str) -> Draft | None:
        return next((d for d in self._of(case_id, reviewer) if not d.recovered), None)

    def recovered(self, case_id: str, reviewer: str) -> list[Draft]:
        found = [d for d in self._of(case_id, reviewer) if d.recovered]
        found.sort(key=lambda draft: draft.id)
        return sorted(found, key=lambda draft: draft.saved_at, reverse=True)

    def put(self, draft: Draft) -> None:
        self._tables.drafts[draft.id] = draft

    def delete(self, draft_id: str) -> None:
        self._tables.drafts.pop(draft_id, None)

    def _of(self, case_id: str, reviewer: str) -> list[Draft]:
        drafts = self._tables.drafts.values()
        return [d for d in drafts if (d.case_id, d.reviewer) == (case_id, reviewer)]


class FakeSkips(_Fake):
    def put(self, skip: Skip) -> None:
        self._tables.skips[skip.case_id, skip.reviewer] = skip


class FakeBlindReviews(_Fake):
    def add(self, review: BlindReview) -> None:
        _refuse_own_case(self._tables, review.case_id, review.reviewer)
        _insert(self._tables.blind_reviews, (review.case_id, review.reviewer), review)

    def find(self, case_id: str, reviewer: str) -> BlindReview | None:
        return self._tables.blind_reviews.get((case_id, reviewer))


class FakeSubmissions(_Fake):
    def add(self, submission: Submission) -> None:
        _insert(self._tables.submissions, submission.key, submission)

    def find(self, key: str) -> Submission | None:
        return self._tables.submissions.get(key)


class FakeCorrections(_Fake):
    def add(self, correction: Correction, agreement: Agreement) -> None:
        _insert(self._tables.corrections, correction.case_id, (correction, agreement))

    def of_case(self, case_id: str) -> Correction | None:
        found = self._tables.corrections.get(case_id)
        return found[0] if found else None

    def agreement_of(self, case_id: str) -> Agreement | None:
        found = self._tables.corrections.get(case_id)
        return found[1] if found else None

    def count(self) -> int:
        return len(self._tables.corrections)

    def latest(self) -> Iterator[tuple[str, Correction]]:
        newest: dict[str, Correction] = {}
        answers = (correction for correction, _ in self._tables.corrections.values())
        for correction in sorted(answers, key=lambda answer: (answer.created_at, answer.id)):
            newest[self._tables.cases[correction.case_id].image_id] = correction
        yield from sorted(newest.items())


class FakeSecondReviews(_Fake):
    def add(self, review: SecondReview) -> None:
        _refuse_own_case(self._tables, review.case_id, review.reviewer)
        _insert(self._tables.second_reviews, review.case_id, review)

    def of_case(self, case_id: str) -> SecondReview | None:
        return self._tables.second_reviews.get(case_id)

    def count(self) -> int:
        return len(self._tables.second_reviews)


class FakeAnnotations(_Fake):
    def add(self, annotation: Annotation) -> None:
        key = (annotation.image_id, annotation.version)
        _insert(self._tables.annotations, key, annotation)

    def latest_of(self, image_id: str) -> Annotation | None:
        return next((each for each in self.latest() if each.image_id == image_id), None)

    def of_case(self, case_id: str) -> Annotation | None:
        annotations = self._tables.annotations.values()
        return next((each for each in annotations if each.case_id == case_id), None)

    def latest(self) -> Iterator[Annotation]:
        highest = {key[0]: each for key, each in sorted(self._tables.annotations.items())}
        yield from highest.values()


class FakeClasses(_Fake):
    def find(self) -> ClassList | None:
        names = tuple(self._tables.classes.values())
        return ClassList(names) if names else None

    def get(self) -> ClassList:
        classes = self.find()
        if classes is None:
            raise Misconfigured("There is no class list yet.")
        return classes

    def set(self, classes: ClassList) -> None:
        if self.find() is not None:
            raise Conflict("There is a class list already.")
        self._tables.classes.update(enumerate(classes))


class FakeSnapshots(_Fake):
    def add(self, record: SnapshotRecord) -> bool:
        if record.sha256 in self._tables.snapshots:
            return False
        self._tables.snapshots[record.sha256] = record
        return True

    def get(self, prefix: str) -> SnapshotRecord:
        found = [r for r in self._tables.snapshots.values() if r.sha256.startswith(prefix)]
        if not found or not prefix:
            raise NotFound(f"There is no snapshot {prefix!r}.")
        if len(found) > 1:
            raise Conflict(f"More than one snapshot begins with {prefix!r}.")
        return found[0]

    def list(self) -> list[SnapshotRecord]:
        records = self._tables.snapshots.values()
        return sorted(records, key=lambda record: (record.created_at, record.sha256))


class FakePromotions(_Fake):
    def add(self, promotion: Promotion) -> None:
        _insert(self._tables.promotions, promotion.id, promotion)

    def update(self, promotion: Promotion) -> None:
        _get(self._tables.promotions, promotion.id)
        self._tables.promotions[promotion.id] = promotion

    def find(self, name: str, version: str) -> Promotion | None:
        of_model = [
            promotion
            for promotion in self.list()
            if (promotion.candidate.name, promotion.candidate.version) == (name, version)
        ]
        return of_model[-1] if of_model else None

    def list(self) -> list[Promotion]:
        promotions = self._tables.promotions.values()
        return sorted(promotions, key=lambda promotion: (promotion.created_at, promotion.id))


class FakeTrials(_Fake):
    def add(self, trial: Trial) -> None:
        _insert(self._tables.trials, trial.id, trial)

    def update(self, trial: Trial) -> None:
        self.get(trial.id)
        self._tables.trials[trial.id] = trial

    def get(self, trial_id: str) -> Trial:
        return _get(self._tables.trials, trial_id)

    def find_open(self) -> Trial | None:
        return next((trial for trial in self._tables.trials.values() if trial.open), None)

    def find_latest(self) -> Trial | None:
        return max(self._tables.trials.values(), key=lambda trial: trial.created_at, default=None)

    def unfinished(self) -> list[Trial]:
        trials = self._tables.trials.values()
        return [trial for trial in trials if trial.id not in self._tables.closed_trials]

    def counts(self, trial_id: str) -> dict[str, TrialCounts]:
        return dict(self._tables.trial_counts.get(trial_id, {}))

    def note_counts(self, trial_id: str, counts: Mapping[str, TrialCounts]) -> None:
        self._tables.trial_counts[trial_id] = dict(counts)

    def close(self, trial_id: str) -> None:
        self._tables.closed_trials[trial_id] = True


class FakeServingOrders(_Fake):
    def put(self, order: ServingOrder) -> None:
        self._tables.serving_orders["detector"] = order

    def find(self) -> ServingOrder | None:
        return self._tables.serving_orders.get("detector")


class FakeAccounts(_Fake):
    def add(self, account: Account) -> None:
        key = login_key(account.login)
        if self.find(key) or (account.issuer and self.of_subject(account.issuer, account.subject)):
            raise Conflict("There is such an account already.")
        _insert(self._tables.accounts, account.id, account)

    def update(self, account: Account) -> None:
        self.get(account.id)
        self._tables.accounts[account.id] = account

    def get(self, account_id: str) -> Account:
        return _get(self._tables.accounts, account_id)

    def find(self, key: str) -> Account | None:
        return next((each for each in self.list() if login_key(each.login) == key), None)

    def of_subject(self, issuer: str, subject: str) -> Account | None:
        wanted = (issuer, subject)
        return next((each for each in self.list() if (each.issuer, each.subject) == wanted), None)

    def list(self) -> list[Account]:
        return sorted(self._tables.accounts.values(), key=lambda each: login_key(each.login))

    def count(self) -> int:
        return len(self._tables.accounts)


class FakeSessions(_Fake):
    def add(self, session: Session) -> None:
        _insert(self._tables.sessions, session.token_sha256, session)

    def find(self, token_sha256: str) -> tuple[Session, Account] | None:
        session = self._tables.sessions.get(token_sha256)
        return (session, self._tables.accounts[session.account_id]) if session else None

    def note_use(self, token_sha256: str, at: str) -> None:
        session = self._tables.sessions[token_sha256]
        self._tables.sessions[token_sha256] = replace(session, seen_at=at)

    def end(self, token_sha256: str) -> None:
        self._tables.sessions.pop(token_sha256, None)

    def end_all(self, account_id: str) -> None:
        self._keep(lambda session: session.account_id != account_id)

    def forget_ended(self, now: str, idle_since: str) -> None:
        self._keep(lambda session: session.ends_at > now and session.seen_at > idle_since)

    def _keep(self, wanted: Callable[[Session], bool]) -> None:
        sessions = self._tables.sessions
        self._tables.sessions = {key: each for key, each in sessions.items() if wanted(each)}


class FakeInvitations(_Fake):
    def add(self, invitation: Invitation) -> None:
        _insert(self._tables.invitations, invitation.token_sha256, invitation)

    def find(self, token_sha256: str) -> Invitation | None:
        return self._tables.invitations.get(token_sha256)

    def use(self, token_sha256: str, at: str) -> bool:
        found = self.find(token_sha256)
        if found is None or found.used_at or found.expires_at <= at:
            return False
        self._tables.invitations[token_sha256] = replace(found, used_at=at)
        return True

    def void(self, account_id: str | None, at: str) -> None:
        for key, each in list(self._tables.invitations.items()):
            if each.account_id == account_id and each.used_at is None and each.expires_at > at:
                self._tables.invitations[key] = replace(each, expires_at=at)


class FakeSignInFailures(_Fake):
    def take(self, login_digest: str) -> Failures:
        return self._tables.sign_in_failures.get(login_digest, Failures(login_digest))

    def put(self, failures: Failures) -> None:
        self._tables.sign_in_failures[failures.login_digest] = failures

    def forget(self, login_digest: str) -> None:
        self._tables.sign_in_failures.pop(login_digest, None)

    def forget_before(self, failed_at: str, now: str) -> None:
        for key, each in list(self._tables.sign_in_failures.items()):
            if each.failed_at <= failed_at and each.locked_until <= now:
                del self._tables.sign_in_failures[key]


class FakeApiKeys(_Fake):
    def add(self, key: ApiKey) -> None:
        _insert(self._tables.api_keys, key.id, key)

    def update(self, key: ApiKey) -> None:
        _get(self._tables.api_keys, key.id)
        self._tables.api_keys[key.id] = key

    def find(self, key_id: str) -> tuple[ApiKey, Account | None] | None:
        return next((found for found in self.list() if found[0].id == key_id), None)

    def list(self, *, revoked: bool = True) -> list[tuple[ApiKey, Account | None]]:
        keys = (key for key in self._tables.api_keys.values() if revoked or not key.revoked_at)
        keys = sorted(keys, key=lambda key: (key.created_at, key.id))
        return [(key, self._tables.accounts[key.owner] if key.owner else None) for key in keys]

    def note_use(self, key_id: str, at: str) -> None:
        key = self._tables.api_keys[key_id]
        self._tables.api_keys[key_id] = replace(key, last_used_at=at)


class FakePasswords:
    """Hashes that can be read, and that a test can make out of date."""

    def __init__(self, method: str = "plain") -> None:
        self.method = method
        self.verified: list[str | None] = []

    def hash(self, password: str) -> str:
        return f"{self.method}:{password}"

    def verify(self, hashed: str | None, password: str) -> bool:
        self.verified.append(hashed)
        return hashed is not None and hashed.partition(":")[2] == password

    def outdated(self, hashed: str) -> bool:
        return not hashed.startswith(f"{self.method}:")


class FakeStatistics(_Fake):
    def done(self, reviewer: str | None = None) -> Done:
        return Done(len(self._first(reviewer)), len(self._second(reviewer)))

    def done_per_day(self, since: str, reviewer: str | None = None) -> dict[str, Done]:
        first, second = (
            Counter(each.created_at[:10] for each in answers if each.created_at >= since)
            for answers in (self._first(reviewer), self._second(reviewer))
        )
        return {day: Done(first[day], second[day]) for day in sorted({*first, *second})}

    def active_seconds(self, reviewer: str | None = None, *, limit: int = 2000) -> ActiveSeconds:
        return ActiveSeconds(
            tuple(each.active_seconds for each in self._first(reviewer)[:limit]),
            tuple(each.active_seconds for each in self._second(reviewer)[:limit]),
        )

    def verdicts(self, reviewer: str | None = None, *, limit: int = 2000) -> dict[int, Verdicts]:
        found: dict[int, Verdicts] = {}

        def count(class_id: int, **one: int) -> None:
            found[class_id] = found.get(class_id, Verdicts()) + Verdicts(**one)

        for answer in self._first(reviewer)[:limit]:
            seen = self._tables.predictions[answer.prediction_id].detections
            class_of = {detection.id: detection.class_id for detection in seen}
            for detection_id in answer.rejected:
                count(class_of[detection_id], rejected=1)
            for box in answer.boxes:
                proposed = box.class_id if box.detection_id is None else class_of[box.detection_id]
                count(proposed, **{box.origin.value: 1})
        return dict(sorted(found.items()))

    def double_readings(self, *, limit: int = 500) -> list[DoubleReading]:
        newest: dict[str, DoubleReading] = {}
        for review in self._second(None)[:limit]:
            first, _ = self._tables.corrections[review.case_id]
            image = self._tables.images[self._tables.cases[review.case_id].image_id]
            sides = (_labelled(first.boxes), _labelled(review.blind))
            reading = DoubleReading(image.id, image.width, image.height, *sides)
            newest.setdefault(image.id, reading)
        return list(newest.values())

    def first_looks(self, since: str, until: str) -> list[FirstLook]:
        found = []
        for correction, agreement in self._tables.corrections.values():
            prediction = self._tables.predictions[correction.prediction_id]
            counts = Counter(box.origin.value for box in correction.boxes)
            found.append(
                FirstLook(
                    correction.case_id,
                    correction.reviewer,
                    correction.created_at,
                    correction.active_seconds,
                    f"{prediction.model.name}:{prediction.model.version}",
                    _seen(prediction.detections),
                    _labelled(correction.boxes),
                    Verdicts(**counts, rejected=len(correction.rejected)),
                    tuple(reason.value for reason in agreement.reasons),
                )
            )
        within = [each for each in found if since <= each.at < until]
        return sorted(within, key=lambda each: each.at)

    def second_looks(self, since: str, until: str) -> list[SecondLook]:
        found = []
        for review in self._tables.second_reviews.values():
            first, _ = self._tables.corrections[review.case_id]
            found.append(
                SecondLook(
                    review.case_id,
                    review.reviewer,
                    review.created_at,
                    review.active_seconds,
                    _seen(self._tables.predictions[first.prediction_id].detections),
                    _labelled(first.boxes),
                    _labelled(review.blind),
                    _labelled(review.final),
                )
            )
        within = [each for each in found if since <= each.at < until]
        return sorted(within, key=lambda each: each.at)

    def annotations_by_source(self) -> dict[Source, int]:
        return dict(Counter(each.source for each in self._tables.annotations.values()))

    def _first(self, reviewer: str | None) -> list[Correction]:
        answers = (answer for answer, _ in self._tables.corrections.values())
        mine = [each for each in answers if reviewer in (None, each.reviewer)]
        return sorted(mine, key=lambda each: (each.created_at, each.id), reverse=True)

    def _second(self, reviewer: str | None) -> list[SecondReview]:
        reviews = self._tables.second_reviews.values()
        mine = [each for each in reviews if reviewer in (None, each.reviewer)]
        return sorted(mine, key=lambda each: (each.created_at, each.id), reverse=True)


class FakeImpacts(_Fake):
    def find(self, promotion_id: str) -> Impact | None:
        return self._tables.impacts.get(promotion_id)

    def save(self, impact: Impact) -> None:
        self._tables.impacts[impact.promotion_id] = impact

    def settled_before(self, at: str, *, not_by: ModelRef, limit: int) -> list[Settled]:
        newest: dict[str, Annotation] = {}
        for _, annotation in sorted(self._tables.annotations.items()):
            if annotation.created_at < at:
                newest[annotation.image_id] = annotation
        found: list[Settled] = []
        for annotation in newest.values():
            if annotation.case_id is not None:
                case = self._tables.cases[annotation.case_id]
                prediction = self._tables.predictions[case.prediction_id]
                model = prediction.model
                if (model.name, model.version) != (not_by.name, not_by.version):
                    found.append(Settled(prediction, annotation))
        found.sort(key=lambda each: (each.annotation.created_at, each.annotation.id), reverse=True)
        return found[:limit]


class FakeImageSalts(_Fake):
    """Salts that can be told beforehand: `salt_of` gives the same."""

    def of(self, image_id: str) -> bytes:
        return self._tables.image_salts.setdefault(image_id, salt_of(image_id))

    def find(self, image_id: str) -> bytes | None:
        return self._tables.image_salts.get(image_id)

    def erase(self, image_id: str) -> None:
        self._tables.image_salts.pop(image_id, None)


class FakeSettingsInForce(_Fake):
    def find(self) -> dict[str, str] | None:
        return dict(self._tables.settings_in_force) or None

    def put(self, values: Mapping[str, str]) -> None:
        self._tables.settings_in_force.clear()
        self._tables.settings_in_force.update(values)


class FakeSealedTexts(_Fake):
    def add(self, text: SealedText) -> None:
        _insert(self._tables.sealed_texts, text.event_id, text)

    def find(self, event_id: str) -> SealedText | None:
        return self._tables.sealed_texts.get(event_id)

    def erase(self, image_id: str) -> None:
        said = [key for key, text in self._tables.sealed_texts.items() if text.image_id == image_id]
        for key in said:
            del self._tables.sealed_texts[key]


def salt_of(image_id: str) -> bytes:
    """What `FakeImageSalts` gives; a test may make commitments with it."""
    return hashlib.sha256(f"salt of {image_id}".encode()).digest()


def sealed(image_id: str, field: str = "image", value: str | None = None) -> str:
    """What the log of a `FakeDatabase` says of an image instead of its id, or of that ``value``."""
    return commitment(salt_of(image_id), field, image_id if value is None else value)


class FakeImageStore:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        image_id = hashlib.sha256(data).hexdigest()
        self.kept[image_id] = bytes(data)
        return image_id

    def get(self, image_id: str) -> bytes:
        data = _get(self.kept, image_id)
        if hashlib.sha256(data).hexdigest() != image_id:
            raise BrokenRecord(f"Image {image_id} does not match its id.")
        return data

    def delete(self, image_id: str) -> None:
        self.kept.pop(image_id, None)


def _seen(detections: Sequence[Detection]) -> tuple[LabelledBox, ...]:
    return tuple(LabelledBox(each.id, each.box, each.class_id) for each in detections)


def _labelled(boxes: Sequence[FinalBox]) -> tuple[LabelledBox, ...]:
    return tuple(LabelledBox(each.id, each.box, each.class_id) for each in boxes)


def _refuse_own_case(tables: Tables, case_id: str, reviewer: str) -> None:
    first = tables.corrections.get(case_id)
    if first and first[0].reviewer == reviewer:
        raise OwnCase("You gave the first answer to this case.")


def _get(table: dict[Key, Value], key: Key) -> Value:
    if key not in table:
        raise NotFound(f"There is no {key}.")
    return table[key]


def _insert(table: dict[Key, Value], key: Key, value: Value) -> None:
    if key in table:
        raise Conflict(f"There is {key} already.")
    table[key] = value


if TYPE_CHECKING:
    _unit: ports.UnitOfWork = FakeUnitOfWork()
    _units: ports.UnitsOfWork = FakeDatabase().units
    _store: ports.ImageStore = FakeImageStore()
    _passwords: ports.PasswordHasher = FakePasswords()

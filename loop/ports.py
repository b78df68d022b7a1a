"""What the use cases need from outside, as protocols: ``store`` implements them.

A unit of work is one database transaction. Nothing is kept unless ``commit`` is called, and
``commit`` refuses a change that no audit event was recorded for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from loop.accounts import Account, Failures, Invitation, Session
from loop.agreement import Agreement
from loop.api_keys import ApiKey
from loop.cases import Annotation, BlindReview, Case, CaseState, SecondReview, Skip, Source
from loop.classes import ClassList
from loop.corrections import Correction
from loop.drafts import Draft, Submission
from loop.erased import Erased
from loop.events import Event
from loop.images import Image
from loop.impact import Impact, Settled
from loop.leases import Hold
from loop.looks import FirstLook, SecondLook
from loop.predictions import ModelRef, Prediction
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.promotions import Promotion
from loop.queue import Filters, Order, Place, Placed, Viewer
from loop.reliability import DoubleReading
from loop.sealing import SealedText
from loop.serving_orders import ServingOrder
from loop.snapshots import SnapshotRecord
from loop.trial_counts import TrialCounts
from loop.trials import Trial


class Images(Protocol):
    def add(self, image: Image) -> bool:
        """Keep ``image``; False if one with its id is there already (it stays as it was)."""

    def find(self, image_id: str) -> Image | None: ...
    def get(self, image_id: str) -> Image:
        """Raises `NotFound`."""

    def count(self) -> int: ...
    def gold(self) -> list[Image]:
        """The frozen gold set, ordered by id."""

    def mark_gold(self, image_ids: Sequence[str]) -> None: ...
    def near(self, phash: str, distance: int, *, gold: bool) -> list[Image]:
        """Those in the gold set, or those outside it, whose hash differs from ``phash`` in at most
        ``distance`` bits, by id; none if that is `loop.perceptual_hash.NO_HASH`."""

    def of_subject(self, subject: str) -> list[Image]:
        """By id."""

    def answered_at(self, image_ids: Collection[str]) -> dict[str, str]:
        """When each of them first got an annotation or a first answer; without those that got
        none."""

    def older_than(self, at: str) -> list[Image]:
        """Those that came in before ``at``, by id."""

    def erase(self, image_id: str) -> Erased:
        """Delete it, and all that was detected on it or said of it, but for what opens the log's
        commitments (`ImageSalts`, `SealedTexts`). Raises `NotFound`."""

    def set_phash(self, hashes: Mapping[str, str]) -> None:
        """Hashes by image id. They follow from the bytes: it needs no event."""


class Predictions(Protocol):
    def add(self, prediction: Prediction) -> None: ...
    def get(self, prediction_id: str) -> Prediction:
        """Raises `NotFound`."""

    def of_image(self, image_id: str) -> list[Prediction]:
        """Oldest first."""


class Cases(Protocol):
    def add(self, case: Case) -> None: ...
    def get(self, case_id: str) -> Case:
        """Raises `NotFound`."""

    def move(self, case: Case, expected: CaseState) -> None:
        """Store the new state. Raises `Conflict` if the stored one is no longer ``expected``."""

    def of_prediction(self, prediction_id: str) -> Case | None:
        """The open case about it, else the latest."""

    def open_of_image(self, image_id: str) -> list[Case]:
        """Those that are not settled, oldest first."""

    def waiting(
        self, state: CaseState, *, limit: int = 50, offset: int = 0, not_by: str | None = None
    ) -> list[Case]:
        """Cases in ``state``, highest priority first; ``not_by`` leaves out those whose first
        reviewer has that pseudonym."""

    def counts(self) -> dict[CaseState, int]: ...


class Queue(Protocol):
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
        """What ``viewer`` may get, in order, behind ``place``.

        Left out is what somebody else holds, or ``viewer`` in another tab; what they skipped; and
        what waits for a second review if they gave the first answer.
        """

    def place(self, case_id: str, order: Order) -> Place:
        """Raises `NotFound`."""

    def count(self, state: CaseState, filters: Filters, *, not_by: str | None = None) -> int:
        """How many cases; ``not_by`` leaves out what is kept from that pseudonym."""

    def models(self, state: CaseState) -> list[str]:
        """``name:version`` of those with a case in ``state``, sorted."""


class Leases(Protocol):
    """Working state: it needs no event."""

    def find(self, case_id: str) -> Hold | None: ...
    def put(self, hold: Hold) -> None:
        """In the place of the one that is there."""

    def forget(self, case_id: str) -> None: ...


class Drafts(Protocol):
    """Working state: it needs no event."""

    def find(self, draft_id: str) -> Draft | None: ...
    def live(self, case_id: str, reviewer: str) -> Draft | None: ...
    def recovered(self, case_id: str, reviewer: str) -> list[Draft]:
        """Newest first."""

    def put(self, draft: Draft) -> None:
        """In the place of the one with its id."""

    def delete(self, draft_id: str) -> None: ...


class Skips(Protocol):
    def put(self, skip: Skip) -> None:
        """In the place of an earlier one of the same person and case."""


class BlindReviews(Protocol):
    def add(self, review: BlindReview) -> None:
        """Raises `OwnCase` for whoever gave the first answer, `Conflict` for a second one."""

    def find(self, case_id: str, reviewer: str) -> BlindReview | None: ...


class Submissions(Protocol):
    def add(self, submission: Submission) -> None: ...
    def find(self, key: str) -> Submission | None: ...


class Corrections(Protocol):
    def add(self, correction: Correction, agreement: Agreement) -> None: ...
    def of_case(self, case_id: str) -> Correction | None: ...
    def agreement_of(self, case_id: str) -> Agreement | None:
        """How far the model and the first answer to that case agree."""

    def count(self) -> int: ...
    def latest(self) -> Iterator[tuple[str, Correction]]:
        """(image id, its latest first answer) for every image that has one, by image id."""


class SecondReviews(Protocol):
    def add(self, review: SecondReview) -> None:
        """Raises `OwnCase` for whoever gave the first answer."""

    def of_case(self, case_id: str) -> SecondReview | None: ...
    def count(self) -> int: ...


class Annotations(Protocol):
    def add(self, annotation: Annotation) -> None: ...
    def latest_of(self, image_id: str) -> Annotation | None: ...
    def of_case(self, case_id: str) -> Annotation | None: ...
    def latest(self) -> Iterator[Annotation]:
        """The highest version for every annotated image, by image id."""


class Classes(Protocol):
    def find(self) -> ClassList | None: ...
    def get(self) -> ClassList:
        """Raises `Misconfigured` while no class list was set."""

    def set(self, classes: ClassList) -> None: ...


class Snapshots(Protocol):
    def add(self, record: SnapshotRecord) -> bool:
        """Keep ``record``; False if the same digest is there already."""

    def get(self, prefix: str) -> SnapshotRecord:
        """By digest or an unambiguous beginning of it. Raises `NotFound`, `Conflict`."""

    def list(self) -> list[SnapshotRecord]:
        """Oldest first."""


class Promotions(Protocol):
    def add(self, promotion: Promotion) -> None: ...
    def update(self, promotion: Promotion) -> None: ...
    def find(self, name: str, version: str) -> Promotion | None:
        """The latest promotion of that model version."""

    def list(self) -> list[Promotion]:
        """Oldest first."""


class Trials(Protocol):
    def add(self, trial: Trial) -> None: ...
    def update(self, trial: Trial) -> None: ...
    def get(self, trial_id: str) -> Trial:
        """Raises `NotFound`."""

    def find_open(self) -> Trial | None:
        """The one that is starting or running: there is one at most."""

    def find_latest(self) -> Trial | None: ...
    def unfinished(self) -> list[Trial]:
        """Those that are open, and those that ended and whose comparison is not closed yet."""

    def counts(self, trial_id: str) -> dict[str, TrialCounts]:
        """By replica."""

    def note_counts(self, trial_id: str, counts: Mapping[str, TrialCounts]) -> None:
        """Working state: it needs no event."""

    def close(self, trial_id: str) -> None:
        """Its comparison is complete, and will not change. Working state."""


class ServingOrders(Protocol):
    def put(self, order: ServingOrder) -> None:
        """In the place of the one before."""

    def find(self) -> ServingOrder | None:
        """The one that counts; None before the first."""


class Accounts(Protocol):
    def add(self, account: Account) -> None:
        """Raises `Conflict` for a login, or an issuer and subject, that somebody else has."""

    def update(self, account: Account) -> None: ...
    def get(self, account_id: str) -> Account:
        """Raises `NotFound`."""

    def find(self, key: str) -> Account | None:
        """By `loop.accounts.login_key` of a login."""

    def of_subject(self, issuer: str, subject: str) -> Account | None: ...
    def list(self) -> list[Account]:
        """By login."""

    def count(self) -> int: ...


class Sessions(Protocol):
    """Forgetting what has ended, and noting use, is working state: it needs no event."""

    def add(self, session: Session) -> None: ...
    def find(self, token_sha256: str) -> tuple[Session, Account] | None:
        """With whose it is, in one query; whether it still holds is for who asks."""

    def note_use(self, token_sha256: str, at: str) -> None: ...
    def end(self, token_sha256: str) -> None: ...
    def end_all(self, account_id: str) -> None: ...
    def forget_ended(self, now: str, idle_since: str) -> None:
        """Those whose end has come by ``now``, and those last seen by ``idle_since``."""


class Invitations(Protocol):
    def add(self, invitation: Invitation) -> None: ...
    def find(self, token_sha256: str) -> Invitation | None: ...
    def use(self, token_sha256: str, at: str) -> bool:
        """Use it up; False if that has been done, or its time is over."""

    def void(self, account_id: str | None, at: str) -> None:
        """No unused one for that account (or for the first) is good after ``at``."""


class SignInFailures(Protocol):
    """Working state: it needs no event."""

    def take(self, login_digest: str) -> Failures:
        """What is counted. Nobody else counts until this unit of work ends."""

    def put(self, failures: Failures) -> None: ...
    def forget(self, login_digest: str) -> None: ...
    def forget_before(self, failed_at: str, now: str) -> None:
        """Those that are neither younger than ``failed_at`` nor still locked."""


class ApiKeys(Protocol):
    """Noting use is working state: it needs no event."""

    def add(self, key: ApiKey) -> None: ...
    def update(self, key: ApiKey) -> None: ...
    def find(self, key_id: str) -> tuple[ApiKey, Account | None] | None:
        """With its owner, if it has one."""

    def list(self, *, revoked: bool = True) -> list[tuple[ApiKey, Account | None]]:
        """With their owners, oldest first; those that are ``revoked`` too, or not."""

    def note_use(self, key_id: str, at: str) -> None: ...


class ImageSalts(Protocol):
    """Of images, and of data sets by their digest: what `loop.sealing` seals with."""

    def of(self, image_id: str) -> bytes:
        """32 random bytes, the same for as long as they are kept. Makes this the writer."""

    def find(self, image_id: str) -> bytes | None:
        """None before there is one, and after it was erased."""

    def erase(self, image_id: str) -> None:
        """From then on nobody can tell what the log says of this image."""


class SealedTexts(Protocol):
    """Reasons that the log has commitments to, in words."""

    def add(self, text: SealedText) -> None: ...
    def find(self, event_id: str) -> SealedText | None: ...
    def erase(self, image_id: str) -> None:
        """All that was said of this image."""


class SettingsInForce(Protocol):
    """The settings that were recorded last: in words, by name, and no secret among them."""

    def find(self) -> dict[str, str] | None: ...
    def put(self, values: Mapping[str, str]) -> None: ...


class Statistics(Protocol):
    """What the work comes to. ``reviewer`` is a pseudonym; without one, everybody's counts."""

    def done(self, reviewer: str | None = None) -> Done: ...
    def done_per_day(self, since: str, reviewer: str | None = None) -> dict[str, Done]:
        """By day in UTC (``2026-01-31``), oldest first, from the time ``since`` on; days on which
        nothing was done are left out."""

    def active_seconds(self, reviewer: str | None = None, *, limit: int = 2000) -> ActiveSeconds:
        """Of the latest ``limit`` answers of either kind."""

    def verdicts(self, reviewer: str | None = None, *, limit: int = 2000) -> dict[int, Verdicts]:
        """By class id, over the latest ``limit`` first answers."""

    def double_readings(self, *, limit: int = 500) -> list[DoubleReading]:
        """First answers beside blind boxes, of the latest ``limit`` second reviews: newest first,
        and the newest of each image only."""

    def annotations_by_source(self) -> dict[Source, int]: ...
    def first_looks(self, since: str, until: str) -> list[FirstLook]:
        """All from ``since`` on and before ``until``, oldest first."""

    def second_looks(self, since: str, until: str) -> list[SecondLook]:
        """As `first_looks`."""


class Impacts(Protocol):
    def find(self, promotion_id: str) -> Impact | None: ...
    def save(self, impact: Impact) -> None:
        """In the place of an earlier one of the same promotion."""

    def settled_before(self, at: str, *, not_by: ModelRef, limit: int) -> list[Settled]:
        """Cases that people settled before ``at``, newest first, the newest of each image only.

        The prediction of each is another model's than ``not_by``.
        """


class UnitOfWork(Protocol):
    @property
    def images(self) -> Images: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def cases(self) -> Cases: ...
    @property
    def queue(self) -> Queue: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def drafts(self) -> Drafts: ...
    @property
    def skips(self) -> Skips: ...
    @property
    def blind_reviews(self) -> BlindReviews: ...
    @property
    def submissions(self) -> Submissions: ...
    @property
    def corrections(self) -> Corrections: ...
    @property
    def second_reviews(self) -> SecondReviews: ...
    @property
    def annotations(self) -> Annotations: ...
    @property
    def classes(self) -> Classes: ...
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def promotions(self) -> Promotions: ...
    @property
    def trials(self) -> Trials: ...
    @property
    def serving_orders(self) -> ServingOrders: ...
    @property
    def statistics(self) -> Statistics: ...
    @property
    def impacts(self) -> Impacts: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def invitations(self) -> Invitations: ...
    @property
    def sign_in_failures(self) -> SignInFailures: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def image_salts(self) -> ImageSalts: ...
    @property
    def settings_in_force(self) -> SettingsInForce: ...
    @property
    def sealed_texts(self) -> SealedTexts: ...

    def lock(self) -> None:
        """Be the only writer from here on: what is read after this stays so until the end."""

    def record(self, event: Event) -> None:
        """Seal ``event`` (`loop.sealing`) and put it into the outbox of this transaction.

        Raises `InvalidInput` for an event that does not fit its type (`loop.event_types`).
        """

    def commit(self) -> None:
        """Keep all of it, change and events together."""


UnitsOfWork = Callable[[], AbstractContextManager[UnitOfWork]]


class ImageStore(Protocol):
    """Sanitised image bytes, by their SHA-256."""

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its SHA-256 (hex). The same bytes twice are kept once."""

    def get(self, image_id: str) -> bytes:
        """Raises `NotFound`; `BrokenRecord` when the bytes no longer match their id."""

    def delete(self, image_id: str) -> None:
        """Nothing happens if they are not there."""


class PasswordHasher(Protocol):
    """Slow on purpose."""

    def hash(self, password: str) -> str: ...
    def verify(self, hashed: str | None, password: str) -> bool:
        """False for None, after as much work as for a wrong password."""

    def outdated(self, hashed: str) -> bool:
        """Whether `hash` would do it otherwise by now."""


class Aliases(Protocol):
    """Which registered model version an alias (``champion``, ``candidate``…) means."""

    def find_alias(self, alias: str) -> ModelRef | None: ...
    def set_alias(self, alias: str, ref: ModelRef) -> None: ...
    def delete_alias(self, alias: str) -> None: ...
    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None: ...

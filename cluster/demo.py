"""``secondlook demo``: one whole turn of the loop on generated data, in a home of its own.

Everything goes the way it does for real: over HTTP, through the use cases that the app calls,
``dvc repro``, Ray Train, the registry and the running service. Only the people are simulated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cluster import registering
from cluster.console import out, progress
from cluster.demo_data import (
    GOLD_IMAGES,
    IMAGE_SIZE_PX,
    NEW_IMAGES,
    PILOT_IMAGES,
    SEED,
    DemoImage,
    demo_architecture,
    demo_images,
    demo_lock,
    empty_home,
    is_demo_home,
    short_training,
    train_first_model,
)
from cluster.demo_report import show_summary
from cluster.demo_traffic import Answer, post_images
from cluster.local_ray import LocalRay, local_ray
from cluster.running import find_alive
from cluster.service import SWAP_SECONDS, service_swap
from loop import promoting
from loop.agreement import LabelledBox
from loop.cases import CaseState
from loop.errors import Conflict, TrainingFailed
from loop.events import Actor, Authentication, Role
from loop.intake import add_truth
from loop.metrics import AveragePrecision, average_precision
from loop.predictions import ModelRef
from loop.promotions import Verdict
from loop.review import submit_first, submit_second
from loop.simulation import SECOND_REVIEWER, SimulatedReviewer
from loop.synthetic import CLASSES
from serve.release import deploy, wait_until_served
from store.audit_log import AuditLog, open_audit_log
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.own_key import api_headers, ensure_own_key
from store.processes import free_port
from store.pseudonyms import open_subject_pseudonyms
from store.run_proofs import verify_run, verify_version, version_prover
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from store.workspace import Workspace, init_workspace

# Small enough for two cores and five minutes.
PARAMS: dict[str, Any] = {
    "K_FOLDS": 3,
    "EPOCHS": 12,
    "BATCH_SIZE": 8,
    "IMG_SIZE": IMAGE_SIZE_PX,
    "PATIENCE": 0,
    "SEED": SEED,
    "CPUS_PER_FOLD": 0.66,
    "FINAL_MODEL": "best_fold",
    "EXPORTS": [],
    "train": short_training(8),
}
# Something to review in the app after a demo, whose simulated people have settled all cases.
_MORE_IMAGES = 24
ENGINEER = Actor("demo-engineer", Role.ENGINEER, Authentication.PROCESS)
APPROVER = Actor("demo-approver", Role.ENGINEER, Authentication.PROCESS)
FIRST_REVIEWERS = ("demo-reviewer-1", "demo-reviewer-2")
ADJUDICATOR = Actor("demo-adjudicator", Role.ADJUDICATOR, Authentication.PROCESS)


def run_demo(settings: Settings) -> dict[str, Any]:
    """Run one turn in ``settings.home``, which is emptied first, and return its summary.

    Raises `Conflict` if a demo is running there or Second Look is up in it, `Misconfigured` if the
    folder is not a demo's.
    """
    with demo_lock(settings.home):
        running = find_alive(settings)
        if running is not None:
            raise Conflict(
                f"Second Look is up in {settings.home} (process {running.pid}), which the demo "
                "would empty.",
                hint="Stop it first: secondlook down",
            )
        empty_home(settings.home)
        # Its own ports, so that it runs beside `secondlook up`.
        return _Turn(settings.model_copy(update={"api_port": free_port(settings.host)})).run()


def prepare_demo(settings: Settings) -> list[DemoImage]:
    """For ``up --demo``: see that its home has a champion; returns images that wait to be sent to
    the service, none while a case waits for review."""
    with demo_lock(settings.home):
        made = is_demo_home(settings.home)
        if not made or open_model_registry(settings).find_alias(promoting.CHAMPION) is None:
            empty_home(settings.home)
            turn = _Turn(settings)
            turn.generate()
            turn.train_first_model()
            return turn.new
        with open_units_of_work(settings)() as uow:
            known, cases = uow.images.count(), uow.cases.counts()
        if cases.get(CaseState.FIRST) or cases.get(CaseState.SECOND):
            return []
        # By another name each time, so that they are others than those before.
        kind, count = (f"after-{known}", _MORE_IMAGES) if cases else ("new", NEW_IMAGES)
        with progress("Generating images") as step:
            return demo_images(settings, kind, count, step)


class _Turn:
    """The steps in order, and what they hand on to one another."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._units = open_units_of_work(settings)
        self._registry = open_model_registry(settings)
        self._seconds: dict[str, float] = {}
        self._pilot: list[DemoImage] = []
        self._gold: list[DemoImage] = []
        self.new: list[DemoImage] = []

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        settings = self._settings
        out.print(f"One turn of the loop, in {settings.home}", highlight=False)
        open_tracking(settings).prepare()
        self.generate()
        first = self.train_first_model()
        with self._service(first) as ray:
            with self._step("detect", "3/8 Sending new images to the service") as step:
                before = self._score(post_images(settings, "/v1/detect", self._gold, step))
                answers = post_images(settings, "/v1/images", self.new, step)
            with self._step("review", "4/8 First and second reviews") as step:
                second_reviews = self._review(answers, step)
            with self._step("snapshot", "5/8 Freezing a snapshot under DVC", bar=False):
                workspace, dvc_rev = self._freeze(ray)
            training_text = f"6/8 Training {PARAMS['K_FOLDS']} folds in parallel"
            with self._step("train_folds", training_text, bar=False):
                training = self._train_folds(workspace, ray)
            with self._step("promote", "7/8 Approving, promoting, swapping the model"):
                self._promote(ray)
            with self._step("measure", "8/8 Detecting the gold images again") as step:
                answers_after = post_images(settings, "/v1/detect", self._gold, step)
                after = self._score(answers_after)
        self._seconds["total"] = round(time.monotonic() - started, 1)
        log = open_audit_log(settings)
        proved = self._prove(log, training["mlflow_run_id"], answers_after[0].model_version)
        with self._units() as uow:
            snapshot = uow.snapshots.list()[-1]
        summary = {
            "map50_before": before.map50,
            "map50_after": after.map50,
            "map50_95_before": before.map50_95,
            "map50_95_after": after.map50_95,
            "folds": [
                {key: fold[key] for key in ("fold", "map50", "map50_95", "seconds")}
                for fold in training["folds"]
            ],
            "corrections": len(answers),
            "second_reviews": second_reviews,
            "snapshot_sha256": snapshot.sha256,
            "dvc_rev": dvc_rev,
            "mlflow_run_id": training["mlflow_run_id"],
            "model_version_before": first.version,
            "model_version_served": answers_after[0].model_version,
            "audit_events": log.verify().size,
            "proved": proved,
            "seconds": self._seconds,
        }
        (settings.home / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        show_summary(settings, workspace, summary)
        return summary

    def _prove(self, log: AuditLog, run_id: str, version: str) -> list[str]:
        """Check what MLflow says of the training, its folds and the model against the log."""
        tracking, key = open_tracking(self._settings), log.public_key()
        runs = [run_id, *tracking.children(run_id)]
        for run in runs:
            verify_run(tracking, run, key)
        proved = verify_version(tracking, self._registry, version, key)
        return [*runs, f"{self._registry.name} {proved.event.subject['model']['version']}"]

    def generate(self) -> None:
        """Images of three kinds: a pilot's, new ones, and the frozen gold set."""
        with self._step("generate", "1/8 Generating images") as step:
            self._pilot = demo_images(self._settings, "pilot", PILOT_IMAGES, step)
            self.new = demo_images(self._settings, "new", NEW_IMAGES, step)
            self._gold = demo_images(self._settings, "gold", GOLD_IMAGES, step)

    def train_first_model(self) -> ModelRef:
        """Register a weak champion, and with its classes known, freeze the gold set."""
        with self._step("train_first_model", "2/8 Training a weak first model") as step:
            weights = train_first_model(self._settings, self._pilot, step)
            champion = registering.register(
                self._units,
                self._registry,
                weights,
                config_dir=self._settings.home / "ultralytics",
                alias=promoting.CHAMPION,
                actor=ENGINEER,
                prove=version_prover(self._settings, self._registry),
            )
            images = open_image_store(self._settings)
            pseudonyms = open_subject_pseudonyms(self._settings)
            for image in self._gold:
                new = replace(image.new, subject=pseudonyms.of(image.new.subject))
                add_truth(self._units, images, new, image.truth, actor=ENGINEER, gold=True)
        return champion

    @contextmanager
    def _service(self, model: ModelRef) -> Iterator[LocalRay]:
        with local_ray(self._settings, free_port(self._settings.host)) as ray:
            with self._step("serve", "Starting Ray Serve", bar=False):
                ensure_own_key(self._settings, self._units)
                order = deploy(self._settings, ray.dashboard_url, model)
                headers = api_headers(self._settings)
                wait_until_served(self._settings.api_url, order, SWAP_SECONDS, headers)
            yield ray

    def _review(self, answers: Sequence[Answer], step: Any) -> int:
        """Every queued image is corrected; what is sent on is settled. How many those were."""
        first = [
            SimulatedReviewer(
                Actor(name, Role.REVIEWER, Authentication.PROCESS), CLASSES, seed=SEED + index
            )
            for index, name in enumerate(FIRST_REVIEWERS)
        ]
        second = SimulatedReviewer(ADJUDICATOR, CLASSES, seed=SEED, mistakes=SECOND_REVIEWER)
        second_reviews = 0
        for index, (image, answer) in enumerate(zip(self.new, answers, strict=True)):
            width, height = image.new.width, image.new.height
            reviewer = first[index % len(first)]
            with self._units() as uow:
                prediction = uow.predictions.get(answer.body["prediction_id"])
            case_id = answer.body["review_id"]
            outcome = submit_first(
                self._units,
                case_id,
                reviewer.first_answer(prediction, image.truth, width, height),
                actor=reviewer.actor,
                settings=self._settings.agreement,
            )
            if outcome.annotation is None:
                boxes = outcome.correction.boxes
                settled = second.second_answer(prediction, boxes, image.truth, width, height)
                submit_second(self._units, case_id, settled, actor=second.actor)
                second_reviews += 1
            step(index + 1, len(answers))
        return second_reviews

    def _freeze(self, ray: LocalRay) -> tuple[Workspace, str]:
        workspace = init_workspace(self._settings.home / "workspace")
        workspace.set_params(PARAMS | {"ARCHITECTURE": demo_architecture().name})
        workspace.repro(["kfold_data_formatting"], env=self._environment(ray))
        return workspace, workspace.commit("Freeze a snapshot and split it into folds")

    def _train_folds(self, workspace: Workspace, ray: LocalRay) -> dict[str, Any]:
        workspace.repro(["kfold_model_training"], env=self._environment(ray))
        workspace.commit("Train the folds")
        path = workspace.folder / "media" / "runs" / "kfold" / "summary.json"
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def _promote(self, ray: LocalRay) -> None:
        candidate = self._registry.resolve(promoting.CANDIDATE)
        with self._units() as uow:
            promotion = uow.promotions.find(candidate.name, candidate.version)
        if promotion is None or promotion.decision.verdict is not Verdict.PROMOTE:
            reasons = " ".join(promotion.decision.reasons) if promotion else "Not measured."
            raise TrainingFailed(
                f"The gate did not let the candidate pass: {reasons}",
                hint=f"Look at the folds in {self._settings.home / 'workspace'}.",
            )
        promoting.approve(
            self._units,
            candidate,
            actor=APPROVER,
            reason="The demo plays the approving person and follows the gate's verdict.",
        )

        swap = service_swap(self._settings, ray.dashboard_url, self._settings.api_url)
        promoting.promote(self._units, self._registry, candidate, actor=APPROVER, swap=swap)

    def _score(self, answers: Sequence[Answer]) -> AveragePrecision:
        truth = [
            [LabelledBox(str(i), true.box, true.class_id) for i, true in enumerate(image.truth)]
            for image in self._gold
        ]
        return average_precision(truth, [answer.boxes for answer in answers], CLASSES)

    def _environment(self, ray: LocalRay) -> dict[str, str]:
        return self._settings.environment() | ray.environment()

    @contextmanager
    def _step(self, name: str, description: str, *, bar: bool = True) -> Iterator[Any]:
        started = time.monotonic()
        if bar:
            with progress(description) as step:
                yield step
        else:  # a process that we start shows its own
            out.print(f"  {description} …", highlight=False)
            yield None
        self._seconds[name] = round(time.monotonic() - started, 1)
        out.print(f"  {description}: {self._seconds[name]} s", highlight=False)


def fill_queue(settings: Settings, images: Sequence[DemoImage]) -> None:
    """Send generated images to the running service, so that the app has something to review."""
    if images:
        with progress("Sending generated images") as step:
            post_images(settings, "/v1/images", images, step)

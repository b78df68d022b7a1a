"""Forwards: from an answer, an image or a model to what was made of it."""

from __future__ import annotations

from collections.abc import Sequence

from loop.origins import CASE
from loop.service_times import release_steps
from loop.tracing import (
    FindsEvents,
    Found,
    KnowsSnapshots,
    Reference,
    Step,
    about_any,
    model_of,
    name_of,
    short,
    step,
    text_of,
    with_event,
)

_SETTLED = ("annotation.settled", "annotation.imported")
_CORRECTED = "correction.submitted"
_REGISTERED = "model.registered"
_SNAPSHOT = "snapshot.created"
_MOST_SNAPSHOTS = 200
_FIRST_ANSWERS = "first_reviewer"
_BY_ORDER = (
    "Its files are not on this machine, or are not what its digest says: that it holds the answer "
    "follows from the order of the log alone."
)


def consequences(
    record: FindsEvents, snapshots: KnowsSnapshots, about: Sequence[Reference]
) -> Step:
    """From what one of ``about``, references to the same thing, names, as `origins`."""
    return _Consequences(record, snapshots).of(about)


def consequences_of_event(record: FindsEvents, snapshots: KnowsSnapshots, start: Found) -> Step:
    return _Consequences(record, snapshots).of_event(start)


class _Consequences:
    def __init__(self, record: FindsEvents, snapshots: KnowsSnapshots) -> None:
        self._record = record
        self._snapshots = snapshots
        self._seen: set[str] = set()

    def of(self, about: Sequence[Reference]) -> Step:
        kind, value = about[0]
        if kind == "model":
            return self._model(value)
        if kind == "run":
            return self._run(value)
        if kind == "snapshot":
            return self._snapshot(value)
        if kind in ("folds", "split"):
            return step(f"The {kind} {short(value)}", steps=self._trainings((kind, value)))
        found = about_any(self._record, about)
        title = f"What is on record of the {kind} {short(value)}"
        if not found:
            return step(f"The {kind} {short(value)}", gap="Nothing about it is on record.")
        return self._answers(title, found)

    def of_event(self, start: Found) -> Step:
        event = start.event
        kind, _, verb = event.type.partition(".")
        case, model = text_of(event, "review_id"), model_of(event) or model_of(event, "candidate")
        run, snapshot = text_of(event, "mlflow_run_id"), text_of(event, "snapshot_sha256")
        if event.type == "detection.served":
            tree = step(
                "The entry", [start], gap="The image was not stored: nothing was made of it."
            )
        elif kind in CASE and case:
            tree = self._answers(f"The case {short(case)}", self._record.find((("case", case),)))
        elif kind in CASE:
            tree = self._answers("The entry", [start])
        elif model:
            tree = self._model(model)
        elif run:
            tree = self._run(run)
        elif kind in ("folds", "split") and verb == "created":
            digest = text_of(event, f"{kind}_sha256")
            tree = step(f"The {kind} {short(digest)}", steps=self._trainings((kind, digest)))
        elif snapshot:
            tree = self._snapshot(snapshot)
        else:
            led_to = self._record.find((("cause", event.id),))
            gap = "" if led_to else "Nothing on record was made of this."
            tree = step("The entry", [start], [step("Led to", led_to)] if led_to else [], gap=gap)
        return with_event(tree, start)

    def _answers(self, title: str, found: Sequence[Found]) -> Step:
        cases = {text_of(each.event, "review_id") for each in found} - {""}
        about = [("case", case) for case in sorted(cases)]
        said = [*found, *about_any(self._record, about, CASE)]
        settled = [each for each in said if each.event.type in _SETTLED]
        answers = {text_of(each.event, "annotation_id"): each for each in settled}
        answers |= {
            text_of(each.event, "correction_id"): each
            for each in said
            if each.event.type == _CORRECTED
        }
        answers.pop("", None)
        if not answers:
            return step(title, said, gap="No answer is on record yet: nothing was made of it.")
        shown = [each for each in said if each.event.type != "case.opened"]
        steps = self._holding(answers)
        gap = "" if steps else "No snapshot on record holds this answer."
        return step(title, shown, steps, gap=gap)

    def _holding(self, answers: dict[str, Found]) -> list[Step]:
        """The snapshots with one of the ``answers``, by its id."""
        steps = []
        for created in self._record.find((), (_SNAPSHOT,), _MOST_SNAPSHOTS):
            digest = text_of(created.event, "snapshot_sha256")
            held = self._snapshots.holds(digest, list(answers))
            if held is None:
                if any(self._by_order(created, id, each) for id, each in answers.items()):
                    steps.append(self._snapshot(digest, gap=_BY_ORDER))
            elif held:
                gold = all(held.values())
                steps.append(self._snapshot(digest, note=_GOLD if gold else _READ, gold=gold))
        return steps

    def _by_order(self, created: Found, answer: str, said: Found) -> bool:
        """Whether the answer was given before the snapshot was begun, and no later one to that
        image: a snapshot holds the latest."""
        begun = created.event.started
        first = text_of(created.event, "labels") == _FIRST_ANSWERS
        is_correction = said.event.type == _CORRECTED
        gold = bool(said.event.details.get("gold"))
        if said.event.at > begun or (is_correction != first and not (first and gold)):
            return False
        types = (_CORRECTED,) if is_correction else _SETTLED
        field = "correction_id" if is_correction else "annotation_id"
        image = text_of(said.event, "image") or text_of(said.event, "image_id")
        later = self._record.find((("image", image),), types) if image else []
        return not any(
            each.index > said.index
            and each.event.at <= begun
            and text_of(each.event, field) != answer
            for each in later
        )

    def _snapshot(self, digest: str, *, note: str = "", gap: str = "", gold: bool = False) -> Step:
        title = f"The snapshot {short(digest)}"
        if digest in self._seen:
            return step(title, note="It stands above.")
        self._seen.add(digest)
        created = self._record.find((("snapshot", digest),), (_SNAPSHOT,))
        missing = "" if created else "The snapshot is not on record."
        trained = self._trainings(("snapshot", digest))
        if not trained:
            note = f"{note} No training on it is on record.".strip()
        elif gold:
            note = f"{note} These models were measured with it."
        return step(title, created, trained, note=note, gap=gap or missing)

    def _trainings(self, about: Reference) -> list[Step]:
        found = self._record.find((about,), ("kfold", "training"))
        runs = dict.fromkeys(
            text_of(each.event, "mlflow_run_id")
            for each in found
            if text_of(each.event, "mlflow_run_id")
        )
        steps = [self._run(run) for run in runs]
        registered = self._record.find((about,), (_REGISTERED,))
        apart = [each for each in registered if text_of(each.event, "mlflow_run_id") not in runs]
        names = dict.fromkeys(model_of(each.event) for each in apart)
        return [*steps, *(self._model(name) for name in names if name)]

    def _run(self, run: str) -> Step:
        found = self._record.find((("run", run),), ("kfold", "training", "refit", "fold"))
        title = f"Training, MLflow run {short(run)}"
        if not found:
            return step(title, gap="The training is not on record.")
        parent = text_of(found[-1].event, "mlflow_run_id")
        if parent and parent != run:
            return self._run(parent)
        ends = [each for each in found if each.event.type.startswith(("kfold.", "training."))]
        registered = self._record.find((("run", run),), (_REGISTERED,))
        names = dict.fromkeys(model_of(each.event) for each in registered)
        gap = "" if registered else "No model that it was to make is on record."
        return step(title, ends or found, map(self._model, names), gap=gap)

    def _model(self, model: str) -> Step:
        """``model`` is ``name/version``."""
        title = f"The model {model.replace('/', ' ')}"
        if model in self._seen:
            return step(title, note="It stands above.")
        self._seen.add(model)
        found = self._record.find((("model", model),), (_REGISTERED,))
        own = [each for each in found if model_of(each.event) == model]
        gap = "" if own else "No registration of this model is on record."
        return step(title, own, [*release_steps(self._record, model), *self._made_of(own)], gap=gap)

    def _made_of(self, registered: Sequence[Found]) -> list[Step]:
        """What began with a model's weights: trainings, and the same model in another form."""
        if not registered:
            return []
        model = registered[-1].event.subject.get("model")
        digest = str(model.get("digest", "")) if isinstance(model, dict) else ""
        if not digest:
            return []
        trained = self._record.find((("base_weights", digest),), ("kfold", "training"))
        runs = dict.fromkeys(text_of(each.event, "mlflow_run_id") for each in trained)
        copies = self._record.find((("source", digest),), (_REGISTERED,))
        names = dict.fromkeys(
            model_of(each.event) for each in copies if name_of(each.event.details.get("source"))
        )
        return [
            *(
                step(f"A training that began with it, MLflow run {short(run)}", _of(trained, run))
                for run in runs
                if run
            ),
            *(self._model(name) for name in names if name),
        ]


def _of(found: Sequence[Found], run: str) -> list[Found]:
    return [each for each in found if text_of(each.event, "mlflow_run_id") == run]


_NOT_STORED = "The image was not stored: nothing was made of it."
_READ = "It holds the answer, by its files, which have the digests on record."
_GOLD = (
    "It holds the answer in the gold set, by its files: models are measured with it, and none is "
    "trained on it."
)

"""Backwards: from a detection, an answer or a model to what it was made of."""

from __future__ import annotations

from collections.abc import Sequence

from loop.service_times import release_steps
from loop.tracing import (
    MOST_STEPS,
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

CASE = ("image", "correction", "case", "second_review", "annotation")
_QUEUED, _SERVED = "image.queued", "detection.served"
_REGISTERED = "model.registered"
_TRAINED = ("kfold", "training")
_NOTHING = "Nothing on record leads to what this was made of."


def origins(record: FindsEvents, snapshots: KnowsSnapshots, about: Sequence[Reference]) -> Step:
    """From what one of ``about``, references to the same thing, names. What is not on record is a
    gap in the tree, never an error."""
    return _Origins(record, snapshots).of(about)


def origins_of_event(record: FindsEvents, snapshots: KnowsSnapshots, start: Found) -> Step:
    return _Origins(record, snapshots).of_event(start)


class _Origins:
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
        found = about_any(self._record, about)
        if not found:
            return step(f"The {kind} {short(value)}", gap="Nothing about it is on record.")
        if kind in ("folds", "split"):
            return self._folds(kind, value)
        return self._answers(f"What is on record of the {kind} {short(value)}", found)

    def of_event(self, start: Found) -> Step:
        event = start.event
        kind = event.type.partition(".")[0]
        run, snapshot = text_of(event, "mlflow_run_id"), text_of(event, "snapshot_sha256")
        case, model = text_of(event, "review_id"), model_of(event) or model_of(event, "candidate")
        if event.type == _SERVED or (model and kind not in CASE):
            tree = self._model(model)
        elif kind in CASE and case:
            tree = self._answers(f"The case {short(case)}", self._record.find((("case", case),)))
        elif kind in CASE:
            tree = self._answers("The entry", [start])
        elif run:
            tree = self._run(run)
        elif snapshot:
            tree = self._snapshot(snapshot)
        else:
            tree = step("The entry", [start], gap="" if event.cause else _NOTHING)
        cause = self._record.get(event.cause) if event.cause else None
        if cause is not None:
            tree = step(tree.title, tree.events, [step("Led to by", [cause]), *tree.steps])
        return with_event(tree, start)

    def _answers(self, title: str, found: Sequence[Found]) -> Step:
        """What was said of an image, and by which models its boxes had been proposed."""
        models = {model_of(each.event): None for each in found}
        cases = {text_of(each.event, "review_id") for each in found} - {""}
        if not any(models):  # a correction alone does not say which model it corrects
            about = [("case", case) for case in sorted(cases)]
            more = about_any(self._record, about, (_QUEUED,))
            found = [*found, *more]
            models = {model_of(each.event): None for each in more}
        names = [name for name in models if name]
        imported = any(each.event.type == "annotation.imported" for each in found)
        gap = "" if names or imported else "No model's detection is on record behind it."
        note = "Its boxes came in with a data set, not from a model." if imported else ""
        return step(title, found, map(self._model, names), note=note, gap=gap)

    def _model(self, model: str) -> Step:
        """``model`` is ``name/version``."""
        title = f"The model {model.replace('/', ' ')}"
        if model in self._seen:
            return step(title, note="It stands above.")
        self._seen.add(model)
        found = self._record.find((("model", model),), (_REGISTERED, "model.signed"))
        registered = [
            each
            for each in found
            if each.event.type == _REGISTERED and model_of(each.event) == model
        ]
        release = release_steps(self._record, model)
        if not registered:
            gap = "No registration of this model is on record."
            return step(title, found, release, gap=gap)
        made = self._made(registered[-1])
        return step(title, registered, [made, *release])

    def _made(self, registered: Found) -> Step:
        event = registered.event
        source = name_of(event.details.get("source"))
        if source:
            return step("Made of another model", steps=[self._model(source)])
        run = text_of(event, "mlflow_run_id")
        if run:
            return self._run(run)
        return step(
            "Training", gap="It was registered from a file: how it was trained is not on record."
        )

    def _run(self, run: str) -> Step:
        about = (("run", run),)
        whole = self._record.find(about, _TRAINED)
        folds = self._record.find(about, ("fold",))
        final = self._record.find(about, ("refit",))
        title = f"Training, MLflow run {short(run)}"
        if not (whole or folds or final):
            return step(title, gap="The training is not on record.")
        inputs = (whole or final or folds)[-1].event
        parent = text_of(inputs, "mlflow_run_id")
        if parent and parent != run:  # of a fold: the cross-validation around it
            return self._run(parent)
        split = [
            (kind, text_of(inputs, f"{kind}_sha256"))
            for kind in ("folds", "split")
            if text_of(inputs, f"{kind}_sha256")
        ]
        snapshot = text_of(inputs, "snapshot_sha256")
        return step(
            title,
            whole,
            [
                step("Its folds", folds) if folds else None,
                step("The final model's training", final) if final else None,
                *(self._folds(kind, digest) for kind, digest in split),
                self._snapshot(snapshot) if snapshot else step("Data", gap=_NO_SNAPSHOT),
                self._base(text_of(inputs, "base_weights_sha256")),
            ],
        )

    def _folds(self, kind: str, digest: str) -> Step:
        found = self._record.find(((kind, digest),), (f"{kind}.created",))
        name = "The folds" if kind == "folds" else "The split"
        gap = "" if found else f"{name} {short(digest)} are not on record."
        return step(f"{name} {short(digest)}", found, gap=gap)

    def _base(self, digest: str) -> Step | None:
        if not digest:
            return None
        title = f"The weights that it began with, {short(digest)}"
        found = self._record.find((("weights", digest),), (_REGISTERED,))
        if not found:
            return step(title, gap="They came from outside: how they were made is not on record.")
        model = model_of(found[-1].event).replace("/", " ")
        return step(title, found, note=f"They are those of {model}, which can be traced by itself.")

    def _snapshot(self, digest: str) -> Step:
        title = f"The snapshot {short(digest)}"
        found = self._record.find((("snapshot", digest),), ("snapshot.created",))
        gap = "" if found else "The snapshot is not on record."
        return step(title, found, [self._contents(digest)], gap=gap)

    def _contents(self, digest: str) -> Step:
        held = self._snapshots.first(digest, MOST_STEPS)
        if held is None:
            return step("The answers in it", gap=_NO_FILES)
        answers, total = held
        note = f"{total:,} answers, by the snapshot's files, which have the digests on record."
        if total > len(answers):
            note += f" The first {len(answers)} are shown."
        return step("The answers in it", steps=map(self._answer, answers), note=note)

    def _answer(self, answer: str) -> Step:
        """An annotation, or in snapshots of first answers a correction."""
        title = f"Answer {short(answer)}"
        about = (("annotation", answer), ("correction", answer))
        found = about_any(self._record, about, CASE)
        if not found:
            return step(title, gap="This answer is not on record.")
        case = next((text_of(each.event, "review_id") for each in found), "")
        said = self._record.find((("case", case),), CASE) if case else []
        shown = [each for each in said if each.event.type not in ("case.opened", "case.skipped")]
        models = {model_of(each.event) for each in shown if each.event.type == _QUEUED} - {""}
        note = f"Proposed by {', '.join(sorted(models)).replace('/', ' ')}." if models else ""
        return step(title, [*found, *shown], note=note)


_NO_SNAPSHOT = "No snapshot is on record for this training."
_NO_FILES = (
    "The snapshot's files are not on this machine, or are not what its digest says: which answers "
    "it holds cannot be told here. `dvc checkout` in its workspace fetches them."
)

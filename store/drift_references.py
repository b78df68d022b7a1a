"""The reference of a model version for drift, beside it in MLflow.

It is not signed: nothing is decided by it, and a version is measured after it was registered.
"""

from __future__ import annotations

from loop.drift import MIN_DETECTIONS, Reference, reference_path
from loop.errors import BrokenRecord, NotEnoughData, NotFound
from loop.predictions import ModelRef
from store.model_registry import ModelRegistry
from store.tracking import Tracking


def keep_reference(tracking: Tracking, registry: ModelRegistry, reference: Reference) -> None:
    """Put it into the run that made the version, in place of one of an earlier measurement."""
    model = reference.model
    text = reference.to_json().decode()
    tracking.log_text(registry.run_of(model), text, reference_path(model.version))


def read_reference(
    tracking: Tracking, registry: ModelRegistry, model: ModelRef, at_least: float
) -> Reference:
    """What ``model``, as it is served from the confidence ``at_least``, can be compared with.

    Raises `NotFound` if it was not measured since there are references, or was for another
    confidence; `NotEnoughData` if it detected too little; `BrokenRecord` for what is no reference
    of it.
    """
    again = f"secondlook models measure {model.version}"
    try:
        text = tracking.read_text(registry.run_of(model), reference_path(model.version))
    except NotFound:
        raise NotFound("It was not measured on a gold set yet.", hint=again) from None
    found = Reference.from_json(text)
    profile = found.profile
    if found.model != model or profile.classes != registry.classes_of(model).names:
        raise BrokenRecord("Its reference for drift is another model's.", hint=again)
    if profile.at_least != at_least:
        raise NotFound(
            f"It was measured for detections from {profile.at_least:g}, not {at_least:g}.",
            hint=again,
        )
    detections = sum(profile.class_counts)
    if detections < MIN_DETECTIONS:
        raise NotEnoughData(
            f"It detected {detections} objects in {profile.images} gold images; {MIN_DETECTIONS} "
            "are needed.",
            hint="secondlook gold add makes the gold set larger.",
        )
    return found

"""Detections of two models on gold images that never were: how often is a gate wrong with them?

What is drawn is what the scores rest on (`loop.metrics.Ranked`), not boxes. Each image has its own
difficulty and crowdedness, which all models share; of what is left of a box's quality a share
``common`` is the same for all models, as are so many of the false detections: models that learn
from the same data err in the same places. A model's ``skill`` shifts the quality of its boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from loop.boxes import FloatArray
from loop.metrics import IOU_THRESHOLDS, Ranked
from loop.resampling import weighted_scores


@dataclass(frozen=True, slots=True)
class World:
    """``boxes`` are mean true boxes of each class in an image, ``false`` false detections of each
    class; the other figures are standard deviations on the scale of quality, where 1 takes an IoU
    of 0.80 to 0.92. ``subjects`` is how many images there are of one subject."""

    boxes: tuple[float, ...] = (1.5, 0.8, 0.4)
    false: float = 1.0
    difficulty: float = 0.5
    noise: float = 1.0
    common: float = 0.5
    subjects: int = 1


# About mAP50 0.83 and mAP50-95 0.53: a usable model with room above it.
USUAL_SKILL = 1.05
_MANY_IMAGES = 20_000


@dataclass(frozen=True, slots=True)
class Gold:
    """The true boxes of a class on all images, and what every model finds hard in them."""

    positives: tuple[NDArray[np.intp], ...]
    box_images: tuple[NDArray[np.intp], ...]
    hardness: tuple[FloatArray, ...]
    false_images: tuple[NDArray[np.intp], ...]
    false_confidences: tuple[FloatArray, ...]
    groups: NDArray[np.intp]
    world: World


def draw_gold(rng: np.random.Generator, images: int, world: World) -> Gold:
    groups = np.arange(images) // world.subjects
    subject = rng.normal(0, 1, int(groups[-1]) + 1)[groups]
    own = rng.normal(0, 1, images)
    share = 0.7 if world.subjects > 1 else 0.0
    difficulty = world.difficulty * (np.sqrt(share) * subject + np.sqrt(1 - share) * own)
    crowd = rng.gamma(2, 0.5, images)
    positives, box_images, hardness, false_images, false_confidences = [], [], [], [], []
    for mean in world.boxes:
        counts = rng.poisson(mean * crowd)
        if not counts.any():
            counts[rng.integers(images)] = 1
        at = np.repeat(np.arange(images), counts)
        positives.append(counts)
        box_images.append(at)
        shared = np.sqrt(world.common) * world.noise * rng.normal(0, 1, len(at))
        hardness.append(shared - difficulty[at])
        wrong = np.repeat(
            np.arange(images), rng.poisson(world.common * world.false * np.exp(difficulty))
        )
        false_images.append(wrong)
        false_confidences.append(_false_confidence(rng, len(wrong)))
    return Gold(
        tuple(positives),
        tuple(box_images),
        tuple(hardness),
        tuple(false_images),
        tuple(false_confidences),
        groups,
        world,
    )


def draw_model(rng: np.random.Generator, gold: Gold, skill: float) -> list[Ranked]:
    """What a model of that skill sees on the images."""
    world = gold.world
    images = len(gold.groups)
    own_noise = np.sqrt(1 - world.common) * world.noise
    seen = []
    for place, positives in enumerate(gold.positives):
        at = gold.box_images[place]
        quality = skill + gold.hardness[place] + own_noise * rng.normal(0, 1, len(at))
        iou = 1 / (1 + np.exp(-0.35 - quality))
        confidence = 1 / (1 + np.exp(-quality - 0.7 * rng.normal(0, 1, len(at))))
        own_false = rng.poisson((1 - world.common) * world.false, images)
        wrong = np.concatenate([gold.false_images[place], np.repeat(np.arange(images), own_false)])
        sure = np.concatenate(
            [gold.false_confidences[place], _false_confidence(rng, int(own_false.sum()))]
        )
        hits = np.zeros((len(at) + len(wrong), len(IOU_THRESHOLDS)), dtype=bool)
        hits[: len(at)] = iou[:, None] >= IOU_THRESHOLDS
        confidences = np.concatenate([confidence, sure])
        order = np.argsort(-confidences, kind="stable")
        seen.append(
            Ranked(
                f"class {place}",
                confidences[order],
                np.concatenate([at, wrong])[order],
                hits[order],
                positives,
            )
        )
    return seen


def _false_confidence(rng: np.random.Generator, count: int) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(1.2 + rng.normal(0, 1, count))))


def scores(ranked: Sequence[Ranked]) -> FloatArray:
    """AP by class and IoU, shape (classes, thresholds)."""
    ones = np.ones((1, len(ranked[0].positives)), dtype=np.int32)
    return weighted_scores(ranked, ones)[:, 0]


@cache
def skill_for(gain: float, world: World) -> float:
    """The skill at which mAP50-95 is higher by ``gain`` than at the usual one, on many images."""

    def excess(skill: float) -> float:
        rng = np.random.default_rng(0)
        gold = draw_gold(rng, _MANY_IMAGES, world)
        usual, better = (
            draw_model(np.random.default_rng(1), gold, s) for s in (USUAL_SKILL, skill)
        )
        return float(scores(better).mean() - scores(usual).mean()) - gain

    return float(optimize.brentq(excess, USUAL_SKILL, USUAL_SKILL + 3, xtol=1e-3))

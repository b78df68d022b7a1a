"""How a model uses the cores: streams, threads and images at once, chosen by measuring it.

What was measured is kept in a JSON file, by the digest of the weights, the backend and the number
of cores, so that a model is measured once on a machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from detector.base import Pixels

# Each candidate works for so long, as often as there are rounds; the best round counts, since
# whatever else the machine does only makes it slower.
_SECONDS, _ROUNDS = 0.2, 2
# A model so slow that this is not enough is not sped up by the last few percent; whoever waits for
# it waits for no more than this and the images that were begun.
_SECONDS_IN_ALL = 8.0
# A stream of its own for each core needs no waiting for one another and was fastest on two cores;
# with many cores the caches may be too small for as many images at once.
_THREADS_A_STREAM = (1, 2, 4)
_STACKED = (1, 4, 8)


@dataclass(frozen=True, slots=True)
class Plan:
    """``parallel`` images are worked on at once: in OpenVINO by ``streams`` of ``threads`` in all,
    elsewhere stacked in one batch. ``images_per_second`` is None where nothing was measured."""

    backend: str
    cores: int
    streams: int
    threads: int
    parallel: int
    images_per_second: float | None = None


class Measurable(Protocol):
    def detect(self, images: Sequence[Pixels]) -> object: ...
    def close(self) -> None: ...


def candidates(backend: str, cores: int) -> list[Plan]:
    """The plans worth measuring, the likeliest first."""
    if not backend.startswith("openvino"):
        return [Plan(backend, cores, 1, cores, stacked) for stacked in _STACKED]
    streams = dict.fromkeys(max(1, cores // threads) for threads in _THREADS_A_STREAM)
    # One more image than streams: while the others infer it is prepared, or its boxes are found.
    return [Plan(backend, cores, each, cores, each + 1) for each in streams]


def agreed_plan(
    file: Path,
    digest: str,
    plans: Sequence[Plan],
    start: Callable[[Plan], Measurable],
    image: Pixels,
    *,
    measures: bool = True,
) -> Plan:
    """What ``file`` has of a model with that ``digest``, else the fastest of ``plans``, which is
    kept there; without ``measures``, the likeliest one, which is not.

    Several processes may ask at once: one measures, undisturbed by the others, which wait for it.
    """
    likeliest = plans[0]
    found = kept_plan(file, digest, likeliest.backend, likeliest.cores)
    if found is not None or not measures:
        return found or likeliest
    with _alone(file):
        found = kept_plan(file, digest, likeliest.backend, likeliest.cores)
        if found is None:
            found = measured_plan(plans, start, image)
            if found.images_per_second is not None:
                keep_plan(file, digest, found)
    return found


def measured_plan(
    plans: Sequence[Plan], start: Callable[[Plan], Measurable], image: Pixels
) -> Plan:
    """The fastest of ``plans``, each started and run in turns on ``image``; the first of them, not
    measured, if a few seconds were not enough to run each of them once."""
    over = time.perf_counter() + _SECONDS_IN_ALL
    started: list[Measurable] = []
    speeds = [0.0] * len(plans)
    try:
        for plan in plans:
            engine = start(plan)
            started.append(engine)
            engine.detect([image] * plan.parallel)  # warm
            if time.perf_counter() > over:
                return plans[0]
        for number in range(_ROUNDS):
            for index, (plan, engine) in enumerate(zip(plans, started, strict=True)):
                if time.perf_counter() > over:
                    if number == 0:
                        return plans[0]
                    break
                speeds[index] = max(speeds[index], _images_per_second(engine, plan, image))
    finally:
        for engine in started:
            engine.close()
    best = max(range(len(plans)), key=speeds.__getitem__)
    return replace(plans[best], images_per_second=round(speeds[best], 2))


def kept_plan(file: Path, digest: str, backend: str, cores: int) -> Plan | None:
    """What was measured before, or None."""
    found = _read(file).get(_key(digest, backend, cores))
    try:
        return Plan(**found) if isinstance(found, dict) else None
    except TypeError:  # of another version of this program
        return None


def keep_plan(file: Path, digest: str, plan: Plan) -> None:
    """Several processes may do so at once; one of two that do may have to measure again."""
    plans = _read(file) | {_key(digest, plan.backend, plan.cores): asdict(plan)}
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(plans, opened, indent=2, sort_keys=True)
    Path(name).replace(file)


def describe(plan: Plan) -> str:
    """A line for people."""
    threads = _counted(plan.threads, "thread")
    if plan.backend.startswith("openvino"):
        streams = _counted(plan.streams, "stream")
        how = f"{streams}, {threads}, {_counted(plan.parallel, 'image')} at once"
    else:
        how = f"{threads}, up to {_counted(plan.parallel, 'image')} stacked"
    speed = plan.images_per_second
    return f"{plan.backend} on {_counted(plan.cores, 'core')}: {how}, " + (
        "not measured yet" if speed is None else f"{speed:.1f} images/s measured"
    )


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed with the file, whatever becomes of this process
        yield


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _images_per_second(engine: Measurable, plan: Plan, image: Pixels) -> float:
    started, images = time.perf_counter(), 0
    while (took := time.perf_counter() - started) < _SECONDS or images == 0:
        batch = [image] * (2 * plan.parallel)
        engine.detect(batch)
        images += len(batch)
    return images / took


def _key(digest: str, backend: str, cores: int) -> str:
    return f"{digest} {backend} {cores}"


def _read(file: Path) -> dict[str, object]:
    try:
        plans = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plans if isinstance(plans, dict) else {}

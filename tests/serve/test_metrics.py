from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from detector.jobs import Stage
from loop.drift import MIN_IMAGES
from loop.predictions import Detection
from serve.metrics import Metrics, exposition
from serve.model_slot import SwapOutcome
from serve.service import Detected, ServiceStatus
from tests.serve.fakes import CLASSES, model_ref
from tests.serve.test_drift import detections, reference

ONE = model_ref("1")
IN_SERVICE = ServiceStatus(model=ONE, wanted=ONE)
AS_BEFORE = detections((0, 0.9), (0, 0.6), (1, 0.4))


def samples(metrics: Metrics, status: ServiceStatus = IN_SERVICE) -> dict[str, float]:
    """By name and labels, as ``name{a=b}``."""
    families = pickle.loads(pickle.dumps(metrics.families(status)))  # noqa: S301  # our own
    found = {}
    for family in text_string_to_metric_families(exposition({"r1": families}).decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "replica"}
            inside = ",".join(f"{name}={value}" for name, value in labels.items())
            found[f"{sample.name}{{{inside}}}"] = sample.value
    return found


def see(metrics: Metrics, images: int, seen: tuple[Detection, ...] = AS_BEFORE) -> None:
    for _ in range(images):
        metrics.detected(Detected(ONE, CLASSES, seen))


def test_stages_of_the_engine_are_timed_from_many_threads() -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(200):
            for stage in Stage:
                threads.submit(metrics.engine_stage, stage, 0.002)
    found = samples(metrics)
    for stage in Stage:
        assert found[f"secondlook_engine_stage_seconds_count{{stage={stage.value}}}"] == 200
    assert found["secondlook_engine_stage_seconds_bucket{le=0.001,stage=inference}"] == 0
    assert found["secondlook_engine_stage_seconds_bucket{le=0.0025,stage=inference}"] == 200
    with pytest.raises(KeyError):
        metrics.engine_stage("lunch", 1)


def test_batches_are_counted_by_size() -> None:
    metrics = Metrics()
    for size in (1, 1, 3, 8):
        metrics.batch(size)
    found = samples(metrics)
    assert found["secondlook_batch_images_sum{}"] == 13
    assert found["secondlook_batch_images_bucket{le=1.0}"] == 2
    assert found["secondlook_batch_images_bucket{le=4.0}"] == 3


def test_swaps_are_counted_from_nought() -> None:
    metrics = Metrics()
    metrics.swap(SwapOutcome.SERVED)
    found = samples(metrics)
    assert found["secondlook_swaps_total{outcome=served}"] == 1
    assert found["secondlook_swaps_total{outcome=failed}"] == 0


def test_without_a_reference_nothing_is_said_of_drift() -> None:
    metrics = Metrics()
    see(metrics, MIN_IMAGES)
    assert not any(name.startswith("secondlook_drift") for name in samples(metrics))


def test_drift_is_published_once_there_are_images_enough() -> None:
    metrics = Metrics()
    metrics.expect(reference(), 300)
    see(metrics, MIN_IMAGES - 1)
    found = samples(metrics)
    assert found["secondlook_drift_images{}"] == MIN_IMAGES - 1
    assert "secondlook_drift_psi{}" not in found
    see(metrics, 101)
    found = samples(metrics)
    assert found["secondlook_drift_images{}"] == 300
    assert found["secondlook_drift_psi{}"] < 0.01
    assert found["secondlook_drift_number_psi{}"] < 0.01
    assert found["secondlook_drift_class_distance{}"] < 0.01
    assert found["secondlook_drift_class_psi{class_name=rod}"] < 0.01
    assert "secondlook_drift_class_psi{class_name=ring}" not in found  # 300 are too few
    assert found["secondlook_drift_detections_per_image{of=reference}"] == 3
    see(metrics, 300, detections((0, 0.3), (0, 0.3)))
    found = samples(metrics)
    assert found["secondlook_drift_psi{}"] > 1
    assert found["secondlook_drift_detections_per_image{of=now}"] == 2


def test_drift_is_that_of_the_model_in_service() -> None:
    metrics = Metrics()
    metrics.expect(reference("2"), 300)
    see(metrics, MIN_IMAGES)
    assert "secondlook_drift_images{}" not in samples(metrics)
    other = samples(metrics, replace(IN_SERVICE, model=model_ref("2")))
    assert other["secondlook_drift_images{}"] == 0
    assert "secondlook_drift_detections_per_image{of=now}" not in other
    assert "secondlook_drift_images{}" not in samples(metrics, ServiceStatus())

from __future__ import annotations

from dataclasses import replace

from loop.serving_orders import Stop
from serve.service import ServiceStatus, furthest_behind
from tests.serve.fakes import model_ref

OLD = ServiceStatus(model=model_ref("1"), wanted=model_ref("2"), loading=True, order="o2")
NEW = ServiceStatus(model=model_ref("2"), wanted=model_ref("2"), order="o2")


def test_a_model_is_served_once_all_replicas_have_it() -> None:
    assert furthest_behind([NEW, OLD]) == OLD
    assert furthest_behind([NEW, NEW]) == NEW


def test_one_replica_without_a_model_is_not_ready() -> None:
    empty = replace(OLD, model=None)
    assert furthest_behind([NEW, empty, OLD]) == empty


def test_they_are_stopped_once_all_of_them_are() -> None:
    stop = Stop("eva", "2026-01-01T00:00:00Z", "It misses rods.")
    stopped = ServiceStatus(order="o3", stopped=stop)
    assert furthest_behind([NEW, stopped]).stopped is None
    assert furthest_behind([stopped, NEW]).stopped is None
    assert furthest_behind([stopped, stopped]) == stopped


def test_the_failure_of_one_replica_is_reported() -> None:
    failed = replace(OLD, loading=False, error="no")
    assert furthest_behind([OLD, failed, NEW]) == replace(failed, error="no (1 of 3 replicas)")
    assert furthest_behind([failed, failed]).error == "no"


def test_replicas_that_follow_different_orders_are_loading_and_follow_none() -> None:
    unaware = ServiceStatus(model=model_ref("1"), wanted=model_ref("1"), order="o1")
    for statuses in ([NEW, unaware], [unaware, NEW], [replace(OLD, error="no"), unaware]):
        behind = furthest_behind(statuses)
        assert behind.loading
        assert behind.error is None
        assert behind.order == ""

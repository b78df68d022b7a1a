from __future__ import annotations

from dataclasses import replace

from serve.service import ServiceStatus, furthest_behind
from tests.serve.fakes import model_ref

OLD = ServiceStatus(model=model_ref("1"), wanted=model_ref("2"), loading=True)
NEW = ServiceStatus(model=model_ref("2"), wanted=model_ref("2"))


def test_a_model_is_served_once_all_replicas_have_it() -> None:
    assert furthest_behind([NEW, OLD]) == OLD
    assert furthest_behind([NEW, NEW]) == NEW


def test_one_replica_without_a_model_is_not_ready() -> None:
    empty = replace(OLD, model=None)
    assert furthest_behind([NEW, empty, OLD]) == empty


def test_the_failure_of_one_replica_is_reported() -> None:
    failed = replace(OLD, loading=False, error="no")
    assert furthest_behind([OLD, failed, NEW]) == failed

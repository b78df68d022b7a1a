from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from detector import plan as planning
from detector.base import Pixels, smoke_image
from detector.cores import cpu_quota, usable_cores
from detector.plan import (
    Plan,
    agreed_plan,
    candidates,
    describe,
    keep_plan,
    kept_plan,
    measured_plan,
)

PLAN = Plan("openvino", 4, 2, 4, 3, 41.7)


class Fake:
    """Every image takes so many seconds of the test's own clock."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.closed = False

    def detect(self, images: Sequence[Pixels]) -> None:
        self._clock[0] += self._seconds * len(images)

    def close(self) -> None:
        self.closed = True


def test_the_fastest_plan_is_chosen_and_all_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(planning.time, "perf_counter", lambda: clock[0])
    plans = candidates("openvino", 8)
    made: list[Fake] = []

    def start(plan: Plan) -> Fake:
        made.append(Fake(clock, 0.01 if plan.streams == 4 else 0.02))
        return made[-1]

    chosen = measured_plan(plans, start, smoke_image())
    assert (chosen.streams, chosen.images_per_second) == (4, pytest.approx(100))
    assert [fake.closed for fake in made] == [True] * len(plans)


@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_a_model_that_is_too_slow_to_measure_gets_the_likeliest_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float
) -> None:
    clock = [0.0]
    monkeypatch.setattr(planning.time, "perf_counter", lambda: clock[0])
    plans = candidates("onnx", 2)
    made: list[Fake] = []

    def start(_: Plan) -> Fake:
        made.append(Fake(clock, seconds))
        return made[-1]

    file = tmp_path / "plans.json"
    assert agreed_plan(file, "a", plans, start, smoke_image()) == plans[0]
    assert clock[0] <= max(seconds, 8.0 + 8 * seconds)  # eight images are the most at once
    assert all(fake.closed for fake in made)
    assert kept_plan(file, "a", "onnx", 2) is None  # the machine may have been busy


def test_of_several_that_ask_at_once_one_measures(tmp_path: Path) -> None:
    plans = candidates("openvino", 2)
    started: list[Plan] = []

    def start(plan: Plan) -> Fake:
        started.append(plan)
        return Fake([0.0], 0.0)

    file = tmp_path / "plans.json"
    assert agreed_plan(file, "a", plans, start, smoke_image(), measures=False) == plans[0]
    assert started == []
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(agreed_plan, file, "a", plans, start, smoke_image()) for _ in range(4)]
    found = {each.result() for each in asked}
    assert found == {kept_plan(file, "a", "openvino", 2)}
    assert len(started) == len(plans)
    assert agreed_plan(file, "a", plans, start, smoke_image(), measures=False) in found


def test_plans_use_all_cores_and_no_more() -> None:
    for backend, cores in itertools.product(("openvino", "openvino_int8", "onnx"), (1, 2, 3, 64)):
        plans = candidates(backend, cores)
        assert len(set(plans)) == len(plans)
        assert all(1 <= plan.streams <= plan.threads == cores for plan in plans)
        assert all(plan.parallel >= plan.streams for plan in plans)


def test_plans_are_kept_by_digest_backend_and_cores(tmp_path: Path) -> None:
    file = tmp_path / "new" / "plans.json"
    assert kept_plan(file, "a", "openvino", 4) is None
    keep_plan(file, "a", PLAN)
    keep_plan(file, "b", replace(PLAN, cores=2))
    assert kept_plan(file, "a", "openvino", 4) == PLAN
    assert kept_plan(file, "b", "openvino", 4) is None
    assert [path.name for path in file.parent.iterdir()] == ["plans.json"]
    file.write_text('{"a openvino 4": {"of": "another version"}}')
    assert kept_plan(file, "a", "openvino", 4) is None
    file.write_text("{")
    assert kept_plan(file, "a", "openvino", 4) is None
    keep_plan(file, "a", PLAN)
    assert kept_plan(file, "a", "openvino", 4) == PLAN


def test_a_plan_is_described_in_a_line() -> None:
    assert describe(PLAN) == (
        "openvino on 4 cores: 2 streams, 4 threads, 3 images at once, 41.7 images/s measured"
    )
    assert describe(Plan("onnx", 1, 1, 1, 8)) == (
        "onnx on 1 core: 1 thread, up to 8 images stacked, not measured yet"
    )


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/host/path\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {}, None),
        (
            "3:cpu,cpuacct:/x\n2:cpuset:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"},
            4.0,
        ),
        (
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
    ],
)
def test_the_quota_is_the_least_of_all_groups(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = cpu_quota(tmp_path, tmp_path / "own")
    assert found == quota if quota is not None else found > 10_000
    assert cpu_quota(tmp_path, tmp_path / "missing") > 10_000


def test_there_is_at_least_one_core() -> None:
    assert usable_cores() >= 1

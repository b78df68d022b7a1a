from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.serve import parser
from bench.serve_memory import growth, verdict
from bench.serve_settings import Settings, choose_images, split_cores
from bench.serve_summary import summary
from bench.serve_table import show
from bench.serve_usage import cpu_between, cpu_seconds, memory
from bench.serve_ways import Row, check_boxes, check_version, row

RESULT = {
    "images_per_second": 10.0,
    "images": 100,
    "answers": 120,
    "p50_ms": 5.0,
    "p95_ms": 8.0,
    "p99_ms": 9.0,
    "max_ms": 11.0,
    "rejected": 20,
    "errors": 0,
    "server_cpu_seconds": 5.0,
    "load_cpu_seconds": 0.06,
    "memory_bytes": 10**9,
    "serving_memory_bytes": 10**8,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        weights=tmp_path / "best.pt",
        image_size=320,
        stride=32,
        files=(tmp_path / "1.jpg",),
        left_out=0,
        padded=(256, 320),
        min_confidence=0.25,
        nms_iou=0.6,
    )


def rows(plain: float, limit: float, ours: dict[int, float], precision: str = "f32") -> list[Row]:
    return [
        row("plain", "f32", 8, RESULT | {"images_per_second": plain}),
        row("limit", precision, None, RESULT | {"images_per_second": limit}),
        *(
            row("ours", precision, n, RESULT | {"images_per_second": speed})
            for n, speed in ours.items()
        ),
    ]


def test_ratios_are_of_medians_at_the_better_of_8_and_32_clients(settings: Settings) -> None:
    rounds = [
        rows(10, 50, {1: 99, 8: 40, 32: 44}),
        [*reversed(rows(12, 60, {1: 99, 8: 42, 32: 46}))],
        rows(11, 55, {1: 99, 8: 2, 32: 48}),
    ]
    found = summary(settings, rounds, {"limit": [1]})
    assert found["ratio_to_limit"] == 46 / 55
    assert found["ratio_to_plain"] == 46 / 11
    medians = {(r["way"], r["clients"]): r["images_per_second"] for r in found["rows"]}
    assert medians["ours", 8] == 40
    assert {"machine", "command", "settings", "rounds", "boxes"} < found.keys()
    assert json.loads(json.dumps(found)) == found


def test_the_spread_is_from_the_slowest_to_the_fastest_round(settings: Settings) -> None:
    found = summary(settings, [rows(10, 40, {8: 1}), rows(10, 60, {8: 1})], {})
    assert {r["way"]: r["spread"] for r in found["rows"]} == {"plain": 0, "limit": 0.4, "ours": 0}


def test_errors_and_rejections_of_all_rounds_count(settings: Settings) -> None:
    found = summary(settings, [rows(1, 1, {8: 1})] * 2, {})
    assert found["rows"][0]["rejected"] == 40


def test_without_the_other_way_there_is_no_ratio(settings: Settings) -> None:
    found = summary(settings, [[row("ours", "f32", 8, RESULT)]], {})
    assert found["ratio_to_limit"] is None
    assert found["ratio_to_plain"] is None


def test_a_way_that_gave_no_answer_has_a_row(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = RESULT | dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms")) | {"images": 0}
    found = summary(settings, [[row("ours", "f32", 8, nothing | {"images_per_second": 0.0})]], {})
    show(found)
    assert found["rows"][0]["p50_ms"] is None
    assert "ours" in capsys.readouterr().out


def test_cpu_of_the_server_is_per_image_and_of_the_load_generator_per_request() -> None:
    found = row("ours", "f32", 8, RESULT)
    assert found["server_cpu_seconds_per_image"] == 0.05
    assert found["load_cpu_seconds_per_image"] == 0.0005


def test_stress_is_in_the_table(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    steady = {"steady_clients": 32, "steady_p99_ms": 90.0}
    latencies = {"p50_ms": 1.0, "p99_ms": 2.0, "max_ms": 3.0}
    overload: dict[str, Any] = {
        "requests_per_second": 200.0,
        "answered_per_second": 199.0,
        "accepted_per_second": 40.0,
        "rejected": 160,
        "rejected_p99_ms": 4.0,
        "rejected_with_retry_after": 160,
        "errors": 0,
        "statuses": {"200": 40, "429": 160},
    }
    swap = {"swaps": 3, "clients": 32, "requests": 100, "failed": 0, "versions": {"1": 60}}
    found = summary(settings, [rows(1, 1, {8: 1})], {})
    found["overload"] = overload | latencies | steady
    found["swap"] = swap | latencies | steady
    show(found)
    shown = capsys.readouterr().out
    assert "160 got 429" in shown
    assert "100 requests, 0 failed" in " ".join(shown.split())


@pytest.mark.parametrize(("found", "same"), [([50, 51], True), ([50, 60], False)])
def test_ways_that_see_other_boxes_are_not_compared(found: list[int], same: bool) -> None:
    boxes = {"limit f32": [50, 50], "ours f32": found}
    if same:
        check_boxes("ours", "f32", boxes)
    else:
        with pytest.raises(SystemExit, match="ours does not see the boxes"):
            check_boxes("ours", "f32", boxes)


def test_boxes_are_compared_with_those_of_the_same_precision() -> None:
    boxes = {"limit f32": [50, 50], "limit int8": [40, 60], "ours int8": [40, 60]}
    check_boxes("ours", "int8", boxes)
    with pytest.raises(SystemExit, match="in int8"):
        check_boxes("ours", "int8", boxes | {"ours int8": [50, 50]})


def test_another_version_is_not_measured() -> None:
    check_version("2", [{"model": {"version": "2"}}])
    with pytest.raises(SystemExit, match="by version 1, not 2"):
        check_version("2", [{"model": {"version": "1"}}])


def test_more_here_and_fewer_there_is_no_agreement() -> None:
    with pytest.raises(SystemExit):
        check_boxes("ours", "f32", {"limit f32": [50, 50], "ours f32": [40, 60]})


def test_a_model_that_sees_nothing_is_refused() -> None:
    with pytest.raises(SystemExit, match="sees nothing"):
        check_boxes("ours", "f32", {"limit f32": [0], "ours f32": [0]})


def test_int8_stands_beside_32_bit_floats_and_plain_is_measured_once(settings: Settings) -> None:
    both = replace(settings, precisions=("f32", "int8"))
    assert both.contestants == [
        ("plain", "f32"),
        ("limit", "f32"),
        ("ours", "f32"),
        ("limit", "int8"),
        ("ours", "int8"),
    ]
    assert replace(settings, precisions=("int8",)).contestants[0] == ("plain", "f32")
    found = summary(
        both, [[*rows(10, 50, {8: 40}), *rows(10, 100, {8: 60}, precision="int8")[1:]]], {}
    )
    assert found["ratio_to_limit"] == 40 / 50
    assert found["ratios"]["int8"] == {
        "ratio_to_limit": 0.6,
        "ratio_to_plain": 6,
        "ratio_to_f32": 1.5,
    }
    assert [(r["way"], r["precision"]) for r in found["rows"]] == [
        ("plain", "f32"),
        ("limit", "f32"),
        ("limit", "int8"),
        ("ours", "f32"),
        ("ours", "int8"),
    ]


def test_the_table_names_the_precision_of_each_row(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    both = replace(settings, precisions=("f32", "int8"))
    show(summary(both, [[*rows(1, 2, {8: 1}), *rows(1, 3, {8: 2}, precision="int8")[1:]]], {}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "ours in int8: 0.67 of the limit, 2.00 of plain, 2.00 of ours in f32" in shown
    assert "bench.int8_map" in shown


def test_only_images_of_the_most_frequent_rectangle_are_taken(tmp_path: Path) -> None:
    for name, shape in {"a": (48, 64), "b": (64, 64), "c": (480, 640), "d": (24, 32)}.items():
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((*shape, 3), np.uint8))
    files, padded, left_out = choose_images(tmp_path, 2, 128, 32)
    assert [file.name for file in files] == ["a.jpg", "c.jpg"]
    assert padded == (96, 128)
    assert left_out == 1


def test_the_load_generator_has_a_core_of_its_own_where_there_are_more_than_two() -> None:
    assert split_cores([0, 1, 2, 3]) == ((0, 1, 2), (3,))
    assert split_cores([0, 1]) == ((0, 1), (0, 1))


def test_all_ways_are_measured_in_two_rounds_by_default() -> None:
    options = parser().parse_args([])
    assert tuple(options.ways) == ("plain", "limit", "ours")
    assert tuple(options.clients) == (1, 8, 32)
    assert options.rounds == 2


def test_cpu_and_memory_are_of_a_process_and_those_below_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdout=subprocess.DEVNULL)
    try:
        before = cpu_seconds(os.getpid())
        while cpu_between(before, cpu_seconds(child.pid)) < 0.1:
            pass
        spent = cpu_between(before, cpu_seconds(os.getpid()))
        both, alone = memory(os.getpid()), memory(child.pid)
    finally:
        child.kill()
        child.wait()
    assert spent >= 0.1
    assert both.all_bytes > alone.all_bytes > 0
    assert alone.serving_bytes == alone.all_bytes


def test_growth_is_of_what_comes_after_the_first_fifth() -> None:
    flat = [
        {"requests": n, "serving_bytes": 100 if n < 4000 else 500} for n in range(0, 20001, 1000)
    ]
    assert growth(flat)["growth_share"] == pytest.approx(0, abs=1e-9)
    leak = [{"requests": n, "serving_bytes": 10**6 + 10 * n} for n in range(0, 20001, 1000)]
    assert growth(leak)["growth_bytes_per_1000"] == pytest.approx(10_000)
    assert growth(leak)["growth_share"] == pytest.approx(160_000 / 1_040_000)


@pytest.mark.parametrize(
    ("step", "every", "expected"),
    [(0, 1000, "flat"), (10, 1000, "not flat"), (-10, 1000, "flat"), (0, 8000, "too few")],
)
def test_memory_is_flat_or_grows_or_there_is_too_little_to_tell(
    step: int, every: int, expected: str
) -> None:
    readings = [{"requests": n, "serving_bytes": 10**6 + step * n} for n in range(0, 20001, every)]
    assert verdict(growth(readings)).startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "shadow", "canary"),
    [([], None, None), (["--shadow", "50%"], 0.5, None), (["--canary", "0.05"], None, 0.05)],
)
def test_a_trial_is_asked_for_by_its_share(
    arguments: list[str], shadow: float | None, canary: float | None
) -> None:
    options = parser().parse_args(arguments)
    assert (options.shadow, options.canary) == (shadow, canary)


@pytest.mark.parametrize(
    "arguments", [["--shadow", "150%"], ["--shadow", "5%", "--canary", "5%"], ["--precision", "f8"]]
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)


def test_python_m_bench_runs_it_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "serve", "--ways", "limit", "--swap", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "of the way ours" in done.stderr

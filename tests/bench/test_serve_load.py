from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.serve_load import Plan, generate
from tests.bench.tiny_server import TinyServer, serving

BODIES = (b"first image", b"the second one")


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, ...]:
    files = [tmp_path / f"{number}.jpg" for number in range(len(BODIES))]
    for file, body in zip(files, BODIES, strict=True):
        file.write_bytes(body)
    return tuple(map(str, files))


def load(
    tiny: TinyServer, images: tuple[str, ...], *, key: str = "", **options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a load on that server, and all events."""
    found: list[dict[str, Any]] = []

    async def run() -> None:
        async with serving(tiny):
            plan = Plan("127.0.0.1", tiny.port, "/v1/detect", images, **options)
            await generate(plan, found.append, asyncio.Event(), key)

    asyncio.run(run())
    return found[-1], found


def test_each_client_waits_for_its_answer_before_it_asks_again(images: tuple[str, ...]) -> None:
    tiny = TinyServer(delay=0.02)
    result, events = load(tiny, images, clients=3, requests=30, warmup=0.0)
    assert [event["event"] for event in events] == ["begin", "end", "result"]
    assert tiny.connections == 3
    assert result["images"] == 30
    assert result["errors"] == result["rejected"] == 0
    assert result["p50_ms"] >= 20
    assert result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]
    assert result["images_per_second"] <= 3 / 0.02
    assert result["load_cpu_seconds"] > 0


def test_a_request_is_an_image_and_carries_the_key(images: tuple[str, ...]) -> None:
    tiny = TinyServer()
    load(tiny, images, clients=1, requests=4, warmup=0.0, key="sl_secret")
    assert {request.partition(b"\r\n\r\n")[2] for request in tiny.requests} == {*BODIES}
    assert all(b"\r\nAuthorization: Bearer sl_secret\r\n" in each for each in tiny.requests)
    assert all(each.startswith(b"POST /v1/detect HTTP/1.1\r\n") for each in tiny.requests)


def test_refused_failed_and_broken_requests_are_told_apart(images: tuple[str, ...]) -> None:
    tiny = TinyServer(statuses=(200, 429, 500, 0))
    result, _ = load(tiny, images, clients=1, requests=40, warmup=0.0)
    assert result["statuses"] == {"0": 10, "200": 10, "429": 10, "500": 10}
    assert (result["images"], result["rejected"], result["errors"]) == (10, 10, 20)
    assert result["rejected_with_retry_after"] == 10
    assert result["said"] == {
        "500 no_luck: It went wrong.": 10,
        "the connection was closed without an answer": 10,
    }
    assert tiny.connections >= 10  # a new one after each that broke


def test_an_answer_that_was_cut_off_is_told_from_none(images: tuple[str, ...]) -> None:
    tiny = TinyServer(cut=True)
    result, _ = load(tiny, images, clients=1, requests=2, warmup=0.0)
    assert result["said"] == {"the connection was closed in the middle of an answer": 2}


def test_a_server_that_closes_after_each_answer_is_no_error(images: tuple[str, ...]) -> None:
    tiny = TinyServer(close=True)
    result, _ = load(tiny, images, clients=2, requests=10, warmup=0.0)
    assert (result["images"], result["errors"]) == (10, 0)


def test_a_server_that_is_not_there_is_an_error(images: tuple[str, ...]) -> None:
    found: list[dict[str, Any]] = []
    plan = Plan("127.0.0.1", 1, "/", images, requests=3, warmup=0.0)
    asyncio.run(generate(plan, found.append, asyncio.Event()))
    assert found[-1]["errors"] == 3
    assert found[-1]["said"] == {"the connection was refused": 3}
    assert found[-1]["p99_ms"] is None


def test_a_request_that_is_not_answered_in_time_is_an_error(images: tuple[str, ...]) -> None:
    tiny = TinyServer(delay=30)
    result, _ = load(tiny, images, clients=1, requests=1, warmup=0.0, timeout=0.1)
    assert result["errors"] == 1


def test_what_was_answered_before_the_window_does_not_count(images: tuple[str, ...]) -> None:
    tiny = TinyServer(delay=0.01)
    result, _ = load(tiny, images, clients=1, requests=5, warmup=0.2)
    assert result["images"] == 5
    assert len(tiny.requests) > 6


def test_progress_is_told_every_so_many_requests(images: tuple[str, ...]) -> None:
    _, events = load(TinyServer(), images, clients=4, requests=30, every=10, warmup=0.0)
    told = [event["requests"] for event in events if event["event"] == "progress"]
    assert told == [10, 20, 30]


def test_versions_are_those_that_the_answers_name(images: tuple[str, ...]) -> None:
    result, _ = load(TinyServer(), images, requests=10, warmup=0.0, versions=True)
    assert result["versions"] == {"1": 5, "2": 5}


def test_an_open_loop_sends_when_it_is_time_whatever_the_server_does(
    images: tuple[str, ...],
) -> None:
    result, _ = load(TinyServer(delay=0.3), images, rate=100.0, seconds=1.0, warmup=0.2, seed=3)
    # Poisson: within five standard deviations of its mean. One client would have had three answers.
    assert 50 < result["answers"] < 150
    assert result["errors"] == 0


def test_waiting_behind_others_counts_from_when_a_request_was_due(images: tuple[str, ...]) -> None:
    # One at a time takes 0.02 s, and 100 a second are due: the last of a second waits for one more.
    tiny = TinyServer(delay=0.02, slots=1)
    result, _ = load(tiny, images, rate=100.0, seconds=1.0, warmup=0.0, seed=3)
    assert result["errors"] == 0
    assert result["max_ms"] > 400
    assert result["p50_ms"] > 150
    assert result["images_per_second"] <= 1 / 0.02  # over the time until the last answer


def test_the_same_seed_is_the_same_load(images: tuple[str, ...]) -> None:
    counts = {
        load(TinyServer(), images, rate=200.0, seconds=0.3, warmup=0.0, seed=7)[0]["answers"]
        for _ in range(2)
    }
    assert len(counts) == 1


def test_as_a_process_it_ends_when_it_is_told_to(images: tuple[str, ...]) -> None:
    async def run() -> list[str]:
        async with serving(TinyServer(delay=0.01)) as tiny:
            plan = Plan("127.0.0.1", tiny.port, "/", images, seconds=600.0, warmup=0.0)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.serve_load"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(plan.to_json().encode() + b"\n")
            lines = [(await process.stdout.readline()).decode()]
            await asyncio.sleep(0.2)
            process.stdin.write(b"stop\n")
            rest, _ = await process.communicate()
            assert process.returncode == 0
            return [*lines, *rest.decode().splitlines()]

    events = [json.loads(line) for line in asyncio.run(run())]
    assert [event["event"] for event in events] == ["begin", "end", "result"]
    assert events[-1]["images"] > 0
    assert events[-1]["seconds"] < 60

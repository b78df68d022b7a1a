"""The ways that are compared: each is started, checked, measured and ended on its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.serve_limit import LimitPlan
from bench.serve_load import Plan
from bench.serve_process import apply_load, events, process, say, wait_for
from bench.serve_product import api_port, running
from bench.serve_settings import F32, Settings
from bench.serve_usage import Memory, memory
from bench.serve_versions import Version
from store.processes import free_port

HOST = "127.0.0.1"
CHECKED_IMAGES = 16
# Between PyTorch and OpenVINO a box at the threshold falls on either side.
_OFF_BY_SHARE = 0.02
# The service compiles a frequent rectangle in the background. In INT8 it then sees other boxes than
# with open shapes (6 of 269), and the limit's shape is fixed.
_SETTLE_SECONDS, _BETWEEN_CHECKS_SECONDS = 20.0, 1.0

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    port: int


Then = Callable[[Server, list[Row]], None]


class Ways:
    """``versions`` are by precision. Every way is compared with the boxes that the limit sees in
    the same precision, before anything is timed."""

    def __init__(self, settings: Settings, versions: Mapping[str, Version], folder: Path) -> None:
        self._settings = settings
        self._versions = versions
        self._folder = folder
        self.log = folder / "log.txt"
        self._checked = min(CHECKED_IMAGES, len(settings.files))
        self.boxes = {f"limit {each}": self._limit_boxes(each) for each in versions}

    def measure(self, way: str, precision: str, then: Then | None = None) -> list[Row]:
        """A row for each number of clients; one, without clients, for the limit. ``then`` is done
        with the server while it is still up."""
        if way == "limit":
            return [self._limit(precision)]
        with self.server(way, precision) as server:
            rows = [
                self._load(way, precision, server, clients) for clients in self._settings.clients
            ]
            if then is not None:
                then(server, rows)
        return rows

    @contextmanager
    def server(self, way: str, precision: str = F32) -> Iterator[Server]:
        """A running server, which sees the boxes that it should. Exits if it does not."""
        with self._plain() if way == "plain" else self._ours(precision) as server:
            self._check(way, precision, server)
            yield server

    def _check(self, way: str, precision: str, server: Server) -> None:
        """Exits if it does not see the boxes that it should, or another version answers."""
        expected = self.boxes[f"limit {precision}"]
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            answers = ask(server.port, self._settings.files[: self._checked])
            found = [len(answer["detections"]) for answer in answers]
            if way == "plain" or found == expected or time.monotonic() > deadline:
                break
            time.sleep(_BETWEEN_CHECKS_SECONDS)
        if way == "ours":
            check_version(self._versions[precision].ref.version, answers)
        self.boxes[f"{way} {precision}"] = found
        check_boxes(way, precision, self.boxes)

    def _load(self, way: str, precision: str, server: Server, clients: int) -> Row:
        settings = self._settings
        plan = self.plan(server, clients=clients, seconds=settings.seconds, warmup=settings.warmup)
        return row(way, precision, clients, apply_load(plan, server.pid, self.log))

    def plan(self, server: Server, **options: Any) -> Plan:
        return Plan(
            host=HOST,
            port=server.port,
            path="/v1/detect",
            images=tuple(map(str, self._settings.files)),
            cores=self._settings.load_cores,
            **options,
        )

    @contextmanager
    def _plain(self) -> Iterator[Server]:
        settings, port = self._settings, free_port()
        options = {
            "weights": settings.weights,
            "config-dir": self._folder / "ultralytics",
            "port": port,
            "image-size": settings.image_size,
            "min-confidence": settings.min_confidence,
            "nms-iou": settings.nms_iou,
            "device": settings.device,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        command = ["bench.serve_plain", *arguments]
        with process(command, settings.server_cores, self.log, piped=False) as child:
            wait_for(f"http://{HOST}:{port}/docs", child, self.log)
            yield Server(child.pid, port)

    @contextmanager
    def _ours(self, precision: str) -> Iterator[Server]:
        self._versions[precision].make_champion()
        with running(self._settings, self.log) as pid:
            yield Server(pid, api_port())

    def _limit(self, precision: str) -> Row:
        settings, held = self._settings, Memory(0, 0)
        plan = self._limit_plan(precision, settings.seconds)
        with process(["bench.serve_limit"], settings.server_cores, self.log) as child:
            for event in events(child, plan.to_json(), self.log):
                if event["event"] == "end":
                    held = memory(child.pid)
        more = {"memory_bytes": held.all_bytes, "serving_memory_bytes": held.serving_bytes}
        return row("limit", precision, None, event | more)

    def _limit_boxes(self, precision: str) -> list[int]:
        with process(["bench.serve_limit"], self._settings.server_cores, self.log) as child:
            plan = self._limit_plan(precision, 0)
            first = next(events(child, plan.to_json(), self.log))
        boxes: list[int] = first["boxes"]
        return boxes

    def _limit_plan(self, precision: str, seconds: float) -> LimitPlan:
        settings = self._settings
        return LimitPlan(
            model=str(self._versions[precision].network),
            images=tuple(map(str, settings.files)),
            image_size=settings.image_size,
            stride=settings.stride,
            min_confidence=settings.min_confidence,
            nms_iou=settings.nms_iou,
            count=self._checked,
            seconds=seconds,
            warmup=settings.warmup,
        )


def row(way: str, precision: str, clients: int | None, result: dict[str, Any]) -> Row:
    """What is kept of a load's result."""
    answers = max(int(result.get("answers", result["images"])), 1)
    kept = ("images_per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rejected", "errors")
    return {
        "way": way,
        "precision": precision,
        "clients": clients,
        **{name: result[name] for name in kept},
        "server_cpu_seconds_per_image": result["server_cpu_seconds"] / max(result["images"], 1),
        "load_cpu_seconds_per_image": result["load_cpu_seconds"] / answers,
        "memory_bytes": result["memory_bytes"],
        "serving_memory_bytes": result["serving_memory_bytes"],
    }


def ask(port: int, files: Sequence[Path]) -> list[dict[str, Any]]:
    """What a server sees in each image."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        answers = []
        for file in files:
            answer = client.post(
                f"http://{HOST}:{port}/v1/detect",
                content=file.read_bytes(),
                headers={"content-type": "image/jpeg"} | _authorisation(),
            )
            answer.raise_for_status()
            answers.append(answer.json())
    return answers


def check_version(version: str, answers: Sequence[dict[str, Any]]) -> None:
    found = {answer["model"]["version"] for answer in answers}
    if found != {version}:
        raise SystemExit(f"ours answers by version {', '.join(sorted(found))}, not {version}.")


def check_boxes(way: str, precision: str, boxes: Mapping[str, list[int]]) -> None:
    """Exits if a way does not see what the limit sees in the same precision: it would not be the
    same work."""
    expected, found = boxes[f"limit {precision}"], boxes[f"{way} {precision}"]
    off = sum(abs(one - other) for one, other in zip(expected, found, strict=True))
    allowed = max(1.0, _OFF_BY_SHARE * sum(expected))
    if not sum(expected):
        raise SystemExit("The model sees nothing in the images: give others, or other weights.")
    if off > allowed:
        raise SystemExit(
            f"{way} does not see the boxes that it should in {precision}: {found} where OpenVINO "
            f"sees {expected}."
        )
    say(
        f"{way} in {precision}: {sum(found)} boxes in {len(found)} images, OpenVINO {sum(expected)}"
    )


def _authorisation() -> dict[str, str]:
    key = os.environ.get("SECONDLOOK_API_KEY", "")
    return {"authorization": f"Bearer {key}"} if key else {}

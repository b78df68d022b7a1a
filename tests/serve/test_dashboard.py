"""What Grafana and Prometheus are told to ask for is what the API has."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.jobs import Stage
from loop.drift import LARGE_DISTANCE, LARGE_PSI
from serve.metrics import Metrics
from serve.model_slot import SwapOutcome
from serve.service import Detected
from tests.serve.fakes import CLASSES
from tests.serve.test_drift import detections, reference
from tests.serve.test_metrics import IN_SERVICE, ONE

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/second-look.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in ALERTS)
    yield from (each["expr"] for each in DASHBOARD["annotations"]["list"])
    yield from (
        each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each
    )


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of each sample of a replica at work, by the sample's name."""
    metrics = Metrics()
    metrics.expect(reference(), 500)
    metrics.request("/v1/detect", "POST", 200, 0.1)
    for stage in ("read", "queue", "decode", "detect"):
        metrics.stage(stage, 0.1)
    for each in Stage:
        metrics.engine_stage(each, 0.1)
    metrics.batch(2)
    metrics.swap(SwapOutcome.SERVED)
    for _ in range(500):
        metrics.detected(Detected(ONE, CLASSES, detections((0, 0.9), (1, 0.4))))
    return {
        sample.name: {*sample.labels, "replica"}
        for family in metrics.families(IN_SERVICE)
        for sample in family.samples
    }


def test_every_metric_that_is_asked_for_is_exposed(exposed: dict[str, set[str]]) -> None:
    asked = {name for each in expressions() for name in re.findall(r"secondlook_\w+", each)}
    assert asked
    assert asked <= exposed.keys()


def test_every_label_that_is_selected_is_one_of_its_metric(exposed: dict[str, set[str]]) -> None:
    for each in expressions():
        for name, selectors in re.findall(r"(secondlook_\w+)\{([^}]*)\}", each):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selectors))
            assert asked <= exposed[name], each
        for labels in re.findall(r"by \(([^)]*)\)", each):
            names = re.findall(r"secondlook_\w+", each)
            assert {label.strip() for label in labels.split(",")} <= exposed[names[0]], each


def test_everything_that_is_exposed_is_shown_somewhere(exposed: dict[str, set[str]]) -> None:
    """But for what Prometheus adds to counters and histograms."""
    asked = " ".join(expressions())
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in exposed}
    assert {name for name in families if name not in asked} == set()


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    assert PANELS
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    titles = Counter(panel["title"] for panel in PANELS)
    assert max(titles.values()) == 1
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_cover_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_have_the_marks_of_the_domain_and_are_explained() -> None:
    by_name: dict[str, Any] = {rule["alert"]: rule for rule in ALERTS}
    assert len(by_name) == len(ALERTS)
    assert by_name["SecondLookScoresDrift"]["expr"].endswith(f">= {LARGE_PSI:.2f}")
    assert by_name["SecondLookNumbersDrift"]["expr"].endswith(f">= {LARGE_PSI:.2f}")
    assert by_name["SecondLookClassesDrift"]["expr"].endswith(f">= {LARGE_DISTANCE:.2f}")
    text = (DEPLOY.parent / "docs/monitoring.md").read_text(encoding="utf-8")
    for rule in ALERTS:
        assert rule["annotations"]["summary"]
        assert rule["alert"] in text


def test_prometheus_reads_the_key_from_a_file_and_the_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["job_name"] in next(r["expr"] for r in ALERTS if r["alert"] == "SecondLookDown")
    assert set(job["authorization"]) == {"type", "credentials_file"}
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])

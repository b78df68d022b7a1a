"""What Grafana and Prometheus are told to ask for is there to be asked for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.alerts import ALERTS, DEPLOY
from tests.deploy.exposed import Labels, of_api, of_app

DASHBOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DEPLOY / "grafana").glob("*.json"))
}
# Prometheus adds these two to whatever it scrapes.
SCRAPED = {"instance", "job"}
# Of Ray's nodes, by what of Ray exports them. `GpuIndex` is of those about GPUs.
RAY_NODE = {
    "ray_node_cpu_utilization": set[str](),
    "ray_node_disk_utilization_percentage": set[str](),
    "ray_node_gpus_utilization": {"GpuIndex"},
    "ray_node_gram_used": {"GpuIndex"},
    "ray_node_mem_total": set[str](),
    "ray_node_mem_used": set[str](),
}
RAY_CORE = {"ray_object_store_memory": {"Location"}, "ray_tasks": {"State"}}
_METRIC = r"\b(?:secondlook|ray)_\w+|\bup\b"


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in panels(dashboard):
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["expr"] for each in dashboard["annotations"]["list"])
    listed = dashboard["templating"]["list"]
    yield from (each["definition"] for each in listed if "definition" in each)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


ASKED = [
    *(
        pytest.param(each, id=f"{name}-{number}")
        for name, dashboard in DASHBOARDS.items()
        for number, each in enumerate(expressions(dashboard))
    ),
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in ALERTS),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    return of_api() | of_app(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def exposed(own: Labels) -> Labels:
    return own | RAY_NODE | RAY_CORE | {"up": set()}


@pytest.mark.parametrize("expression", ASKED)
def test_what_is_asked_for_is_exposed(exposed: Labels, expression: str) -> None:
    names = set(re.findall(_METRIC, expression))
    assert names
    assert names <= exposed.keys()
    known = SCRAPED.union(*(exposed[name] for name in names))
    for name, selectors in re.findall(rf"({_METRIC})\{{([^}}]*)\}}", expression):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors))
        assert asked <= exposed[name] | SCRAPED
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known | {"le"}


@pytest.mark.parametrize("expression", ASKED)
def test_parentheses_and_braces_are_closed(expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)
    assert bare.count('"') % 2 == 0
    while bare != (
        inner := re.sub(r"\([^(){}\[\]]*\)|\{[^(){}\[\]]*\}|\[[^(){}\[\]]*\]", "", bare)
    ):
        bare = inner
    assert not re.search(r"[(){}\[\]]", bare)


def test_everything_that_is_exposed_is_shown_somewhere(own: Labels) -> None:
    """But for what Prometheus adds to counters and histograms."""
    asked = " ".join(each for dashboard in DASHBOARDS.values() for each in expressions(dashboard))
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in own}
    assert {name for name in families if name not in asked} == set()


@pytest.mark.parametrize("name", [*RAY_NODE, *RAY_CORE])
def test_what_is_asked_of_ray_stands_in_ray(name: str) -> None:
    where = (
        "modules/reporter/reporter_agent.py" if name in RAY_NODE else "modules/metrics/dashboards"
    )
    source = files("ray") / "dashboard" / where
    texts = (
        [source.read_text()]
        if source.is_file()
        else [each.read_text() for each in source.iterdir() if each.name.endswith(".py")]
    )
    word = name.removeprefix("ray_") if name in RAY_NODE else name
    assert any(re.search(rf"\b{word}\b", text) for text in texts)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert panels(dashboard)
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    titles = Counter(panel["title"] for panel in panels(dashboard))
    assert max(titles.values()) == 1
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    sources = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    assert [each["name"] for each in sources] == ["datasource"]


def test_dashboards_are_told_apart() -> None:
    for key in ("uid", "title"):
        assert len({each[key] for each in DASHBOARDS.values()}) == len(DASHBOARDS) == 4


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_cover_one_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_docs_name_every_dashboard() -> None:
    text = Path(DEPLOY.parent / "docs/monitoring.md").read_text(encoding="utf-8")
    assert all(f"{name}.json" in text for name in DASHBOARDS)

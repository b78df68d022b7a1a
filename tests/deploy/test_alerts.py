"""Alerts fire when they should, and each has its run-book."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from loop.drift import LARGE_DISTANCE, LARGE_PSI
from tests.deploy.alerts import ALERTS, DEPLOY

ROOT = DEPLOY.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
CASES = sorted(Path(__file__).parent.glob("alert_cases*.yml"))
BY_NAME = {rule["alert"]: rule for rule in ALERTS}


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_drift_has_the_marks_of_the_domain() -> None:
    assert BY_NAME["SecondLookScoresDrift"]["expr"].endswith(f">= {LARGE_PSI:.2f}")
    assert BY_NAME["SecondLookNumbersDrift"]["expr"].endswith(f">= {LARGE_PSI:.2f}")
    assert BY_NAME["SecondLookClassesDrift"]["expr"].endswith(f">= {LARGE_DISTANCE:.2f}")


def test_every_alert_points_at_its_run_book_and_every_run_book_has_its_alert() -> None:
    assert len(BY_NAME) == len(ALERTS)
    headings = re.findall(r"^### (SecondLook\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(headings) == sorted(BY_NAME)
    for name, rule in BY_NAME.items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_run_book_says_what_it_means_how_to_look_what_to_do_and_when_it_is_over(
    name: str,
) -> None:
    found = re.search(rf"^### {name}$(.*?)(?=^##|\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert found
    for part in ("Means:", "Look:", "Do:", "Over:"):
        assert part in found[1], part


@pytest.mark.parametrize("file", ["prometheus.yml", "kubernetes.yml"])
def test_prometheus_reads_the_key_from_a_file_and_the_rules(file: str) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / file).read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name, alert in (
        ("second-look", "SecondLookDown"),
        ("second-look-app", "SecondLookAppDown"),
    ):
        assert f'job="{name}"' in BY_NAME[alert]["expr"]
        assert set(jobs[name]["authorization"]) == {"type", "credentials_file"}
        assert jobs[name]["metrics_path"] == "/metrics"
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])


def test_prometheus_itself_accepts_rules_and_configuration() -> None:
    promtool("check", "rules", DEPLOY / "prometheus/alerts.yml")
    # Not kubernetes.yml: Debian builds Prometheus without Kubernetes' discovery.
    promtool("check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")


def test_alerts_fire_when_they_should_and_not_before() -> None:
    """`alert_cases.yml` and that of days, by Prometheus' own evaluation."""
    promtool("test", "rules", *CASES)


def test_every_alert_about_the_app_is_among_those_cases() -> None:
    cases = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CASES]
    tried = {
        each["alertname"]
        for file in cases
        for case in file["tests"]
        for each in case["alert_rule_test"]
        if each.get("exp_alerts")
    }
    named = {
        rule["alert"]
        for rule in ALERTS
        if not re.search(r"secondlook_(drift|swaps|model|request|rejected|images)", rule["expr"])
    }
    assert named <= tried


def test_every_expression_of_a_dashboard_is_one_for_prometheus(tmp_path: Path) -> None:
    """As rules, with what Grafana puts in for its own words."""
    from tests.deploy.test_dashboards import DASHBOARDS, expressions

    rules = [
        {"record": f"dashboard:panel:{number}", "expr": _as_grafana_asks(each)}
        for number, each in enumerate(
            each
            for dashboard in DASHBOARDS.values()
            for each in expressions(dashboard)
            if not each.startswith("label_values")
        )
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


def _as_grafana_asks(expression: str) -> str:
    words = {"$__rate_interval": "1m", "$__range": "6h", "$replica": ".*"}
    for word, value in words.items():
        expression = expression.replace(word, value)
    return expression

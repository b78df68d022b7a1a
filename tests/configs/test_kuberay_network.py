"""The network policies of configs/kuberay/: what they let through, evaluated here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.configs.manifests import Manifest, all_pods, built, of


def test_nothing_is_let_through_unless_it_is_named(overlay: list[Manifest]) -> None:
    spec = of(overlay, "NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("app", "mlflow", 5001),
        ("serving", "mlflow", 5001),
        ("training", "mlflow", 5001),
        ("app", "serving", 8000),
        ("app", "witness", 8266),
        ("job", "training", 8265),
        ("training", "training", 6379),
        ("serving", "serving", 6379),
    ],
)
def test_parts_reach_what_they_need(
    overlay: list[Manifest], source: str, target: str, port: int
) -> None:
    assert may_reach(overlay, source, target, port)


@pytest.mark.parametrize("source", ["app", "mlflow", "serving", "training"])
def test_in_kind_they_reach_the_database_and_the_object_store(
    kind: list[Manifest], source: str
) -> None:
    assert may_reach(kind, source, "postgres", 5432)
    assert may_reach(kind, source, "object-store", 8333)


def test_serving_alone_reaches_what_its_head_keeps(sources: Path) -> None:
    manifests = built("cloud-head-state", sources)
    names = ["app", "job", "mlflow", "serving", "training", "witness"]
    assert [name for name in names if may_reach(manifests, name, "head-state", 6379)] == ["serving"]


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("serving", "training", 6379),
        ("training", "serving", 6379),
        ("mlflow", "app", 7860),
        ("training", "app", 7860),
        ("serving", "witness", 8266),
        ("witness", "app", 7860),
        ("job", "serving", 8265),
        ("mlflow", "serving", 8000),
    ],
)
def test_and_nothing_else(overlay: list[Manifest], source: str, target: str, port: int) -> None:
    assert not may_reach(overlay, source, target, port)


def test_the_witness_reaches_nobody(overlay: list[Manifest]) -> None:
    labels = {"app.kubernetes.io/name": "witness"}
    reaching = [
        policy["metadata"]["name"]
        for policy, _ in rules(overlay, "egress")
        if matches(policy["spec"]["podSelector"], labels)
    ]
    assert reaching == []


@pytest.mark.parametrize(
    ("target", "port"), [("app", 7860), ("serving", 8000), ("serving", 8080), ("training", 8080)]
)
def test_prometheus_reaches_what_it_scrapes_and_nothing_else(
    overlay: list[Manifest], target: str, port: int
) -> None:
    reached = {
        (policy["metadata"]["name"], each["port"])
        for policy, rule in rules(overlay, "ingress")
        if matches(policy["spec"]["podSelector"], {"app.kubernetes.io/name": target})
        and any(_is_monitoring(peer) for peer in rule.get("from", []))
        for each in rule["ports"]
    }
    assert port in {each for _, each in reached}
    assert {each for _, each in reached} <= {7860, 8000, 8080}


def _is_monitoring(peer: Manifest) -> bool:
    labels = {"kubernetes.io/metadata.name": "monitoring"}
    selector: Manifest | None = peer.get("namespaceSelector")
    return selector is not None and matches(selector, labels)


def may_reach(manifests: list[Manifest], source: str, target: str, port: int) -> bool:
    """Whether the policies let pods named ``source`` ask those named ``target``, both ways."""

    def labels_of(name: str) -> list[dict[str, str]]:
        labels = [pod["metadata"]["labels"] for _, pod in all_pods(manifests)]
        return [each for each in labels if each["app.kubernetes.io/name"] == name]

    def lets(direction: str, here: dict[str, str], there: dict[str, str]) -> bool:
        return any(
            matches(policy["spec"]["podSelector"], here) and lets_through(rule, there, port)
            for policy, rule in rules(manifests, direction)
        )

    return any(
        lets("egress", one, other) and lets("ingress", other, one)
        for one in labels_of(source)
        for other in labels_of(target)
    )


def lets_through(rule: Manifest, labels: dict[str, str], port: int) -> bool:
    """Whether a rule names pods of this namespace with ``labels`` and ``port``."""
    peers = rule.get("from", rule.get("to"))
    named = peers is None or any(
        "namespaceSelector" not in peer and matches(peer["podSelector"], labels) for peer in peers
    )
    return named and (not rule.get("ports") or port in [each["port"] for each in rule["ports"]])


def rules(manifests: list[Manifest], direction: str) -> list[tuple[Manifest, Manifest]]:
    return [
        (each, rule)
        for each in manifests
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"].get(direction, [])
    ]


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        inside = labels.get(expression["key"]) in expression["values"]
        if inside != (expression["operator"] == "In"):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()

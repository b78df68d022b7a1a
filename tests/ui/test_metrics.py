"""``GET /metrics`` of the app: for who has a key with that scope, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from cluster.app import open_app
from loop.api_keys import Scope
from loop.events import Actor, Authentication, Role
from loop.managing_keys import ManageApiKeys
from store.audit_log import open_audit_log
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work

Keys = dict[str, dict[str, str]]
ADMIN = Actor("tests", Role.ADMIN, Authentication.OPERATING_SYSTEM)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def keys(settings: Settings) -> Keys:
    """Headers with keys that are there before the app is, which looks for new ones now and then."""
    manage = ManageApiKeys(open_units_of_work(settings))

    def key(scope: Scope, rate: int | None = None) -> dict[str, str]:
        _, text = manage.create("tests", [scope], per_minute=rate, actor=ADMIN)
        return {"authorization": f"Bearer {text}"}

    return {
        "metrics": key(Scope.METRICS),
        "once": key(Scope.METRICS, 1),
        "other": key(Scope.MODEL),
    }


@pytest.fixture(scope="module")
def client(settings: Settings, keys: Keys) -> Iterator[TestClient]:
    del keys
    with open_app(settings) as app, TestClient(app, base_url=settings.app_url) as client:
        yield client


def test_without_a_key_there_is_nothing(client: TestClient, settings: Settings) -> None:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/metrics", headers={"x-api-key": "sl_made_up"}).status_code == 401
    assert client.get("/metrics/", headers={"accept": "*/*"}).status_code == 401
    refused = open_audit_log(settings).tail(50)
    assert "api_key.refused" in {each.event.type for each in refused}


def test_a_key_for_something_else_opens_nothing(client: TestClient, keys: Keys) -> None:
    answer = client.get("/metrics", headers=keys["other"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "missing_scope")


def test_who_asks_too_often_is_told_when_to_come_back(client: TestClient, keys: Keys) -> None:
    headers = keys["once"]
    assert client.get("/metrics", headers=headers).status_code == 200
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_prometheus_reads_every_part(client: TestClient, keys: Keys) -> None:
    answer = client.get("/metrics", headers=keys["metrics"])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    for part in ("queue", "log", "trainings", "jobs", "disk"):
        assert found["secondlook_part_read", part] == 1
    assert found["secondlook_log_entries",] >= 1
    assert found["secondlook_home_free_bytes",] > 0


def test_no_label_names_a_person(client: TestClient, keys: Keys) -> None:
    answer = client.get("/metrics", headers=keys["metrics"])
    labels = {
        name
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        for name in sample.labels
    }
    assert labels <= {"state", "kind", "outcome", "fold", "part", "name", "version", "witness"}

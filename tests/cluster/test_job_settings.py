from __future__ import annotations

import json

import pytest

from cluster.job_settings import job_environment, remote_environment
from loop.errors import Misconfigured
from loop.events import Actor, Authentication, Role
from store.settings import load_settings

ADA = Actor("quiet-otter", Role.ENGINEER, Authentication.PASSWORD)
SECRETS = {
    "SECONDLOOK_DATABASE_URL": "postgresql://ada:hidden@db/loop",
    "SECONDLOOK_SESSION_KEY": "hidden",
    "SECONDLOOK_API_KEY": "hidden",
    "SECONDLOOK_OIDC_CLIENT_SECRET": "hidden",
    "MLFLOW_TRACKING_URI": "https://ada:hidden@mlflow",
    "AWS_SECRET_ACCESS_KEY": "hidden",
}
BUCKET = "s3://bucket/second-look?endpoint_url=http://store:9000"


@pytest.fixture(autouse=True)
def _bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", BUCKET)


def test_who_asked_and_what_was_chosen_goes_with_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_MODEL_NAME", "cells")
    found = job_environment(load_settings(), "sl-kfold-00000001", ADA)
    assert found == {
        "SECONDLOOK_MODEL_NAME": "cells",
        "SECONDLOOK_JOB": "sl-kfold-00000001",
        "SECONDLOOK_ACTOR": "quiet-otter",
        "SECONDLOOK_ACTOR_AUTHENTICATED_BY": "password",
    }


def test_no_secret_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    found = job_environment(settings, "sl-kfold-00000001", ADA) | remote_environment(settings)
    assert "hidden" not in json.dumps(found)
    assert "MLFLOW_TRACKING_URI" not in found


def test_a_cluster_elsewhere_is_told_where_the_bucket_and_mlflow_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert remote_environment(load_settings()) == {
        "SECONDLOOK_AUDIT_LOG": "elsewhere",
        "SECONDLOOK_STORAGE_URL": BUCKET,
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }


def test_an_address_that_means_another_machine_there_does_not_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", "s3://bucket?endpoint_url=http://127.0.0.1:9000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert remote_environment(load_settings()) == {"SECONDLOOK_AUDIT_LOG": "elsewhere"}


@pytest.mark.parametrize("url", ["", "file:///srv/second-look"], ids=["home", "folder"])
def test_without_a_bucket_nothing_would_come_back(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SECONDLOOK_STORAGE_URL", url)
    with pytest.raises(Misconfigured, match="bucket"):
        remote_environment(load_settings())

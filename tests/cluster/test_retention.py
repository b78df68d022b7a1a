"""Retention and erasure on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.commands import erasing, retention
from loop.errors import LoopError, Misconfigured
from loop.events import Actor, Role
from loop.intake import NewImage, queue_image
from loop.predictions import ModelRef
from loop.retention import LEAST_LOG_DAYS, Document
from store.audit_log import open_audit_log
from store.image_store import open_image_store
from store.pseudonyms import open_subject_pseudonyms
from store.settings import Settings
from store.unit_of_work import open_units_of_work

OLD = Document("model", "1", "1" * 64, "2001-01-01T00:00:00.000000Z")
NEW = Document("model", "2", "2" * 64, None)


class Models:
    by_hand = ""

    def __init__(self, found: list[Document]) -> None:
        self.found = found

    def all(self) -> Sequence[Document]:
        return list(self.found)

    def delete(self, document: Document) -> None:
        self.found.remove(document)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    models = Models([OLD, NEW])
    monkeypatch.setattr(retention, "ModelDocuments", lambda units, registry: models)
    monkeypatch.setattr(retention, "open_model_registry", lambda settings: None)
    return models


@pytest.fixture
def command(settings: Settings, models: Models) -> Callable[..., Result]:
    def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, ["--home", str(settings.home), *arguments], env=env)

    return run


def add_image(settings: Settings, data: bytes, subject: str = "") -> str:
    pseudonym = open_subject_pseudonyms(settings).of(subject) if subject else ""
    return queue_image(
        open_units_of_work(settings),
        open_image_store(settings),
        NewImage(data, "image/png", 8, 8, pseudonym),
        model=ModelRef("detector", "1", "a" * 64),
        detections=(),
        actor=Actor("api", Role.SYSTEM),
    ).image_id


def shown(result: Result) -> Any:
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_it_shows_what_is_kept_for_how_long_and_what_is_due(
    settings: Settings, command: Callable[..., Result]
) -> None:
    add_image(settings, b"one")
    found = shown(command("retention", "show", "--json"))
    assert found["log"] == {"days": 3653, "kept": 1, "purged": 0, "due": 0}
    assert (found["models"]["kept"], found["models"]["due"]) == (2, 1)
    assert found["models"]["next"] == "2011-01-02"
    assert found["snapshots"]["by_hand"]
    assert found["images"] == {"days": None, "kept": 1, "due": 0}
    assert "until erased" in command("retention", "show").stdout


def test_a_dry_run_deletes_nothing_and_a_purge_what_is_due(
    settings: Settings, command: Callable[..., Result], models: Models
) -> None:
    assert shown(command("retention", "purge", "--dry-run", "--json"))["models"]["due"] == 1
    assert models.found == [OLD, NEW]
    assert "Nothing was deleted" in command("retention", "purge", "--dry-run").stdout
    done = shown(command("retention", "purge", "--json"))
    assert done["documents"] == [{"kind": "model", "name": "1"}]
    assert models.found == [NEW]
    last = open_audit_log(settings).tail(1)[0].event
    assert (last.type, last.actor.role) == ("documents.purged", Role.ADMIN)
    assert "0 entries" in command("retention", "purge").stdout


def test_old_images_go_only_where_the_operator_says_so(
    settings: Settings, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = add_image(settings, b"one")
    for module in (retention, erasing):
        monkeypatch.setattr(module, "cutoff", lambda days: "2100-01-01" if days == 30 else "2000")
    assert shown(command("retention", "purge", "--json"))["images"] == 0
    env = {"SECONDLOOK_IMAGE_RETENTION_DAYS": "30"}
    assert shown(command("retention", "show", "--json", env=env))["images"]["due"] == 1
    assert shown(command("retention", "purge", "--json", env=env))["images"] == 1
    with open_units_of_work(settings)() as uow:
        assert uow.images.find(image_id) is None
    event = open_audit_log(settings).tail(1)[0].event
    assert (event.type, event.details["basis"]) == ("image.erased", "retention")


def test_less_than_the_law_asks_is_refused(command: Callable[..., Result]) -> None:
    env = {"SECONDLOOK_LOG_RETENTION_DAYS": str(LEAST_LOG_DAYS - 1)}
    for arguments in (("retention", "show"), ("retention", "purge")):
        assert isinstance(command(*arguments, env=env).exception, Misconfigured)


def test_an_image_is_erased_and_it_is_said_what_else_may_hold_it(
    settings: Settings, command: Callable[..., Result]
) -> None:
    image_id = add_image(settings, b"one")
    result = command("erase", "image", image_id, "--reason", "asked for")
    assert f"Erased {image_id}" in result.stdout
    assert "weights that were trained on it" in result.stdout
    assert "backups" in result.stdout
    again = command("erase", "image", image_id, "--reason", "asked for")
    assert isinstance(again.exception, LoopError)


def test_all_images_of_a_subject_are_erased_by_name_or_pseudonym(
    settings: Settings, command: Callable[..., Result]
) -> None:
    for data, subject in ((b"1", "anna"), (b"2", "anna"), (b"3", "bert"), (b"4", "carl")):
        add_image(settings, data, subject)
    erase = ("--reason", "asked for", "--json")
    found = shown(command("erase", "subject", "anna", "--name", *erase))
    assert len(found["erased"]) == 2
    pseudonym = open_subject_pseudonyms(settings).of("bert")
    assert len(shown(command("erase", "subject", pseudonym, *erase))["erased"]) == 1
    with open_units_of_work(settings)() as uow:
        assert uow.images.count() == 1

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from store.settings import Settings
from store.settings_record import note_settings, shown
from tests.fakes import FakeDatabase


def test_the_first_time_all_settings_are_named(tmp_path: Path) -> None:
    database = FakeDatabase()
    changed = note_settings(Settings(home=tmp_path), database.units)
    (event,) = database.events
    assert event.type == "settings.changed"
    assert event.details == {"changed": changed, "before_sha256": None}
    assert {"home", "approvers", "session_key"} <= set(changed)
    assert not {"actor", "resume"} & set(changed)


def test_what_is_the_same_is_not_recorded_again(tmp_path: Path) -> None:
    database = FakeDatabase()
    note_settings(Settings(home=tmp_path), database.units)
    assert note_settings(Settings(home=tmp_path, actor="somebody-else"), database.units) == []
    assert len(database.events) == 1


def test_what_changed_is_named_and_follows_what_was_before(tmp_path: Path) -> None:
    database = FakeDatabase()
    note_settings(Settings(home=tmp_path), database.units)
    assert note_settings(Settings(home=tmp_path, approvers=2), database.units) == ["approvers"]
    first, second = database.events
    assert second.details["before_sha256"] == first.subject["settings_sha256"]
    assert second.subject["settings_sha256"] != first.subject["settings_sha256"]


@pytest.mark.parametrize(
    "settings",
    [
        {"session_key": SecretStr("hunter2hunter2")},
        {"api_key": SecretStr("hunter2hunter2")},
        {"subject_key": SecretStr(6 * "hunter2" + "A=")},
        {"model_signing_key": "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"},
        {"database_url": "postgresql://me:hunter2hunter2@db/loop"},
        {"storage_url": "s3://me:hunter2hunter2@bucket"},
    ],
)
def test_no_secret_is_kept_or_recorded(tmp_path: Path, settings: dict[str, object]) -> None:
    database = FakeDatabase()
    note_settings(Settings(home=tmp_path), database.units)
    changed = note_settings(Settings(home=tmp_path, **settings), database.units)  # type: ignore[arg-type]
    assert changed == list(settings)
    assert "hunter2" not in str(database.tables.settings_in_force)
    assert b"hunter2" not in b"".join(event.canonical() for event in database.events)


def test_every_setting_is_shown_in_words(tmp_path: Path) -> None:
    values = shown(Settings(home=tmp_path))
    assert set(values) | {"actor", "actor_authenticated_by", "job", "resume"} == set(
        Settings.model_fields
    )
    assert all(isinstance(value, str) for value in values.values())

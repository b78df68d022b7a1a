from __future__ import annotations

import os

import pytest

from cluster.context import running_swap, running_trials
from cluster.running import forget_running, note_running
from cluster.service_address import (
    ServiceAddress,
    find_left,
    find_service,
    forget_left,
    note_left,
)
from store.settings import Settings, load_settings

LEFT = ServiceAddress("http://head:8000", "http://head:8265")


def with_urls(settings: Settings, monkeypatch: pytest.MonkeyPatch, *names: str) -> Settings:
    for name in names:
        monkeypatch.setenv(f"SECONDLOOK_{name}_URL", f"http://{name.lower()}:1234/")
    return load_settings(settings.home)


def test_nothing_is_known_of_a_new_home(settings: Settings) -> None:
    assert find_service(settings) is None
    assert running_swap(settings) is None
    assert running_trials(settings) is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("API",), ServiceAddress("http://api:1234", "")),
        (("DASHBOARD",), ServiceAddress("http://127.0.0.1:8000", "http://dashboard:1234")),
        # Where there are two clusters, the dashboard is that of the trainings.
        (("API", "DASHBOARD"), ServiceAddress("http://api:1234", "")),
    ],
    ids=["api", "dashboard", "both"],
)
def test_where_nothing_is_up_here_the_settings_say_where_it_is(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    found: ServiceAddress,
) -> None:
    settings = with_urls(settings, monkeypatch, *names)
    assert find_service(settings) == found
    assert running_swap(settings) is not None
    assert running_trials(settings) is not None


def test_what_is_up_here_comes_before_the_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_running(settings, "127.0.0.1:6379", "http://127.0.0.1:8265", "http://127.0.0.1:5001")
    named = with_urls(settings, monkeypatch, "API", "DASHBOARD")
    here = ServiceAddress("http://127.0.0.1:8000", "http://127.0.0.1:8265")
    assert find_service(named) == here
    forget_running(settings)
    assert find_service(named) == ServiceAddress("http://api:1234", "")


def test_a_killed_up_counts_for_nothing(settings: Settings) -> None:
    note_running(settings, "a", "b", "c")
    note = settings.run_dir / "up.json"
    note.write_text(note.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    assert find_service(settings) is None


def test_what_was_left_on_a_cluster_is_found_until_it_is_taken_out(settings: Settings) -> None:
    note_left(settings, LEFT)
    assert find_service(settings) == LEFT
    forget_left(settings)
    assert find_service(settings) is None


def test_the_settings_come_before_what_was_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_left(settings, LEFT)
    settings = with_urls(settings, monkeypatch, "API")
    assert find_service(settings) == ServiceAddress("http://api:1234", "")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"api_url": "x"}', '{"other": 1}'])
def test_a_note_that_was_cut_off_counts_as_none(settings: Settings, text: str) -> None:
    note_left(settings, LEFT)
    (settings.run_dir / "left.json").write_text(text)
    assert find_left(settings) is None

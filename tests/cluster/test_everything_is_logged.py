"""Everything that changes something is on record: each route, command, stage and handler stands in
`tests.cluster.logged`; what is named there is a type with a schema, and the code records it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import ui.app
from cluster.app import open_app
from loop.event_types import event_types
from serve.api import build_api
from store.image_codec import Limits
from store.settings import load_settings
from tests.cluster.logged import API, APP, BY_ITSELF, COMMANDS, HANDLERS, STAGES, TO_COME, Entry
from tests.cluster.test_cli import ALL_COMMANDS
from tests.serve.conftest import World
from ui.guard import GUARDED

ROOT = Path(__file__).parents[2]
PACKAGES = ("loop", "store", "detector", "serve", "train", "ui", "cluster", "bench")
TYPES = event_types()
_SAFE = {"GET", "HEAD", "OPTIONS"}
ENTRIES: dict[str, Entry] = {**API, **APP, **HANDLERS, **COMMANDS, **STAGES}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """The reviewers' app with every way to sign in, and its Gradio page."""
    pages: list[Any] = []
    build_page = ui.app.build_page
    settings = load_settings(tmp_path_factory.mktemp("home"))
    provider = {"oidc_issuer": "https://id.example.test", "oidc_client_id": "second-look"}

    def kept(*arguments: Any) -> Any:
        pages.append(build_page(*arguments))
        return pages[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui.app, "build_page", kept)
        with open_app(settings.model_copy(update=provider)) as app:
            yield app, pages[0]


def test_every_route_of_the_api_that_changes_something_is_entered() -> None:
    world = World()
    intake: Any = None
    api = build_api(world.service, intake, Limits(1, 1))
    assert _changing(api.routes) == set(API)


def test_every_route_of_the_app_that_changes_something_is_entered(app: tuple[Any, Any]) -> None:
    # A sign-in at a provider comes back as a GET: those two are entered with the others.
    found = _changing(app[0].routes) | {
        f"GET {route.path}" for route in _routes(app[0].routes) if "/oidc/" in route.path
    }
    assert found == set(APP)


def test_every_handler_of_the_page_is_entered(app: tuple[Any, Any]) -> None:
    handlers = [function.fn for function in app[1].fns.values()]
    assert all(hasattr(handler, GUARDED) for handler in handlers)
    names = {f"{handler.__module__}.{handler.__qualname__}" for handler in handlers}
    assert names == set(HANDLERS)


def test_every_command_is_entered() -> None:
    assert {" ".join(path) for path in ALL_COMMANDS} == set(COMMANDS)


def test_every_stage_is_entered() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {stage["cmd"].split()[-1] for stage in stages.values()} == set(STAGES)
    assert {f"train.{name}" for name in stages} == set(STAGES)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_an_entry_names_is_recorded_somewhere(name: str) -> None:
    entry = ENTRIES[name]
    if isinstance(entry, str):
        assert entry
        return
    for type in entry:
        assert type in TYPES, f"{name}: {type} has no schema"
        assert _is_recorded(type) or type in TO_COME, f"{name}: nothing records {type}"


def test_every_type_is_recorded_by_something_that_is_entered() -> None:
    named = {type for entry in ENTRIES.values() if not isinstance(entry, str) for type in entry}
    assert set(TYPES) - named - BY_ITSELF - TO_COME == set()


def test_the_search_finds_what_is_recorded_and_nothing_else() -> None:
    assert _is_recorded("image.queued")
    assert _is_recorded("kfold.ended")
    assert _is_recorded("measurement.requested")
    assert not _is_recorded("image.eaten")
    assert not _is_recorded("nobody.ended")


def test_every_actor_says_how_it_was_authenticated() -> None:
    for path in _sources():
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Actor":
                assert len(call.args) == 3, f"{path}:{call.lineno}"


def _changing(routes: Any) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in _routes(routes)
        for method in (route.methods or set()) - _SAFE
    }


def _routes(routes: Any) -> Iterator[Any]:
    """Ours: Gradio's and the static files are mounted."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _routes(included.routes)
        elif hasattr(route, "methods"):
            yield route


def _is_recorded(type: str) -> bool:
    literals, patterns = _written()
    in_parts = any(pattern.fullmatch(type) for pattern in patterns)
    return type in literals or (in_parts and literals.issuperset(type.split(".")))


@cache
def _written() -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Every string of the code, and the f-strings by which events are made, with words for their
    holes. Both halves of a type that is put together stand somewhere by themselves."""
    literals, patterns = set(), set()
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
                literals.add(node.value.removeprefix("."))
            elif isinstance(node, ast.Call) and _made_by(node) in ("Event", "_event"):
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                patterns |= {_pattern(each) for each in values if isinstance(each, ast.JoinedStr)}
    return frozenset(literals), tuple(map(re.compile, patterns))


def _made_by(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def _pattern(text: ast.JoinedStr) -> str:
    parts = (
        re.escape(part.value) if isinstance(part, ast.Constant) else "" for part in text.values
    )
    return "".join(part or "[a-z_]+" for part in parts)


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")

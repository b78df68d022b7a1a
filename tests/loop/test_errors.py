from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from loop import errors
from loop.errors import LoopError, OwnCase


def _tree(kind: type[LoopError]) -> Iterator[type[LoopError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


TREE = list(_tree(LoopError))


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_the_way_between_processes(kind: type[LoopError]) -> None:
    error = kind("It broke.", hint="Mend it.", code="special")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind
    assert copy.as_dict() == {"code": "special", "message": "It broke.", "hint": "Mend it."}
    assert str(copy) == "It broke."


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in TREE]
    assert sorted(codes) == sorted(set(codes))


def test_the_code_of_the_class_is_the_default() -> None:
    assert OwnCase("Yours.").as_dict() == {"code": "own_case", "message": "Yours.", "hint": ""}


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_on_top_of_the_file_shows_every_error(kind: type[LoopError]) -> None:
    assert f"{kind.__name__} " in f"{errors.__doc__}".replace("\n", " \n")


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_a_failure_in_http(kind: type[LoopError]) -> None:
    assert 400 <= kind.http_status < 600

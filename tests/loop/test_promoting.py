"""Who may decide. What a decision does is tested with the commands: tests/cluster/test_models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loop.errors import NotAllowed
from loop.events import Actor, Role
from loop.predictions import ModelRef
from loop.promoting import approve, promote, roll_back
from tests.fakes import FakeDatabase

REF = ModelRef("detector", "2", "c" * 64)


class NoAliases:
    def find_alias(self, alias: str) -> ModelRef | None:
        return None

    def set_alias(self, alias: str, ref: ModelRef) -> None:
        raise AssertionError(alias)

    def delete_alias(self, alias: str) -> None:
        raise AssertionError(alias)

    def set_tags(self, ref: ModelRef, tags: object) -> None:
        raise AssertionError(ref)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ENGINEER])
@pytest.mark.parametrize(
    "decide",
    [
        lambda units, actor: approve(units, REF, actor=actor, reason="good"),
        lambda units, actor: promote(units, NoAliases(), REF, actor=actor, swap=None),
        lambda units, actor: roll_back(units, NoAliases(), actor=actor, reason="bad", swap=None),
    ],
    ids=["approve", "promote", "roll back"],
)
def test_only_engineers_decide_about_models(
    decide: Callable[[object, Actor], object], role: Role
) -> None:
    database = FakeDatabase()
    with pytest.raises(NotAllowed):
        decide(database.units, Actor("somebody", role))
    assert database.events == []

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.cases import Annotation, SecondReview, Source
from loop.errors import InvalidAnswer
from tests.strategies import not_finite


def _annotation(version: int) -> Annotation:
    return Annotation("a", "1" * 64, version, None, Source.IMPORTED, (), ("ana",), "2026-01-02")


@given(not_finite | st.floats(max_value=0, exclude_max=True))
def test_a_time_that_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidAnswer, match="duration"):
        SecondReview("s", "case", "ben", (), (), "reason", "", seconds, "2026-01-02")


@pytest.mark.parametrize("version", [0, -1])
def test_versions_of_an_annotation_begin_at_one(version: int) -> None:
    with pytest.raises(InvalidAnswer, match="below 1"):
        _annotation(version)


def test_an_annotation_without_boxes_says_that_nothing_is_there() -> None:
    assert _annotation(1).boxes == ()


def test_an_annotation_cannot_be_changed() -> None:
    annotation: Any = _annotation(1)
    with pytest.raises(AttributeError):
        annotation.version = 2

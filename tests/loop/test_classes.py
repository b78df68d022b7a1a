from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.classes import ClassList
from loop.errors import InvalidInput

name_lists = st.lists(
    st.text(min_size=1).filter(lambda name: bool(name.strip())), min_size=1, unique=True
)


@given(name_lists)
def test_a_class_id_is_a_place_in_the_list(names: list[str]) -> None:
    classes = ClassList(tuple(names))
    assert list(classes) == names
    assert len(classes) == len(names)
    for class_id, name in enumerate(names):
        assert classes.id_of(name) == class_id
        assert classes.name_of(class_id) == name
        assert name in classes


@pytest.mark.parametrize("names", [(), ("",), ("cell", "  "), ("cell", "rod", "cell")])
def test_an_empty_list_a_blank_and_a_repeat_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        ClassList(names)


@pytest.mark.parametrize("class_id", [-1, 2])
def test_an_unknown_class_id_is_refused_with_the_range(class_id: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        ClassList(("cell", "rod")).name_of(class_id)
    assert "0 to 1" in caught.value.hint


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidInput) as caught:
        ClassList(("cell", "rod")).id_of("ring")
    assert "cell, rod" in caught.value.hint

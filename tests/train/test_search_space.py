from __future__ import annotations

from typing import Any

import pytest

from loop.errors import Misconfigured
from train.params import Params
from train.search_space import Choices, Range, SearchSpace, path_of, search_space

LR0 = {"low": 0.0001, "high": 0.02, "log": True}


def space(train: dict[str, Any] | None = None, **entries: Any) -> SearchSpace:
    return search_space(Params(train=train or {}, search=entries))


def test_ranges_and_choices_are_read_as_what_they_are() -> None:
    found = space(
        {"optimizer": "SGD"},
        lr0=LR0,
        mosaic={"low": 0, "high": 1},
        close_mosaic={"low": 0, "high": 20, "step": 5},
        cos_lr={"choices": [True, False]},
        IMG_SIZE={"choices": [320, 640]},
    )
    assert found.dimensions == {
        "lr0": Range(0.0001, 0.02, log=True),
        "mosaic": Range(0.0, 1.0),
        "close_mosaic": Range(0, 20, step=5),
        "cos_lr": Choices((True, False)),
        "IMG_SIZE": Choices((320, 640)),
    }
    assert found.fixed == {}


def test_only_parameters_that_count_something_are_whole_numbers() -> None:
    found = space(mosaic={"low": 0, "high": 1}, nbs={"low": 8.0, "high": 64})
    assert [each.whole for each in found.dimensions.values() if isinstance(each, Range)] == [
        False,
        True,
    ]


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    entry = {"low": "1e-5", "high": "1e-3", "log": True}
    assert space(weight_decay=entry).dimensions == {"weight_decay": Range(1e-5, 1e-3, log=True)}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "search is empty"),
        ({"mozaic": LR0}, "search.mozaic is not a hyperparameter"),
        ({"epochs": LR0}, "search.epochs cannot be set: EPOCHS sets it"),
        ({"PATIENCE": LR0}, "search.PATIENCE"),
        ({"lr0": 0.01}, "search.lr0 is 0.01"),
        ({"lr0": {"low": 0.1}}, "search.lr0 is"),
        ({"lr0": LR0 | {"q": 1}}, "search.lr0 is"),
        ({"lr0": {"low": 0.02, "high": 0.02}}, "low 0.02, which is not below its high 0.02"),
        ({"lr0": {"low": 0, "high": 0.1, "log": True}}, "its low must be above 0"),
        ({"lr0": {"low": "fast", "high": 0.1}}, "low: 'fast', which is not a number"),
        ({"lr0": {"low": True, "high": 2}}, "low: True, which is not a number"),
        ({"lr0": LR0 | {"log": "yes"}}, "log: 'yes', which is neither true nor false"),
        ({"lr0": LR0 | {"step": 0.001}}, "both log and step"),
        ({"mosaic": {"low": 0, "high": 1, "step": 2}}, "step 2, which does not fit"),
        ({"nbs": {"low": 1.5, "high": 8}}, "must be a whole number"),
        ({"mosaic": {"low": 0, "high": 2}}, "search.mosaic is 2.0 and must be"),
        ({"optimizer": {"choices": ["Adem"]}}, "search.optimizer is 'Adem'"),
        ({"optimizer": {"choices": []}}, "has no choices"),
        ({"scale": {"choices": [[0.1, 0.5]]}}, "neither a number nor a word"),
        ({"nbs": {"choices": [8, 8]}}, "the same choice twice"),
        ({"IMG_SIZE": {"low": 320, "high": 640}}, "search.IMG_SIZE would try 321"),
        ({"BATCH_SIZE": {"choices": [0, 8]}}, "search.BATCH_SIZE would try 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        space(**entries)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_slip_in_a_name_is_answered_with_what_was_meant() -> None:
    with pytest.raises(Misconfigured) as caught:
        space(mozaic={"low": 0, "high": 1})
    assert "mosaic" in caught.value.hint


def test_a_range_with_a_step_of_32_is_an_image_size() -> None:
    assert space(IMG_SIZE={"low": 320, "high": 640, "step": 32}).dimensions


def test_values_are_applied_where_params_have_them() -> None:
    params = Params(train={"box": 7.5}, search={"lr0": LR0, "BATCH_SIZE": {"choices": [4, 8]}})
    found = search_space(params)
    applied = found.applied(params, {"lr0": 0.002, "BATCH_SIZE": 4})
    assert applied.BATCH_SIZE == 4
    assert applied.train == {"box": 7.5, "lr0": 0.002, "optimizer": "AdamW"}
    assert params.train == {"box": 7.5}


@pytest.mark.parametrize(
    ("train", "entries", "fixed"),
    [
        ({}, {"lr0": LR0}, {"train.optimizer": "AdamW"}),
        (
            {"optimizer": "auto"},
            {"momentum": {"low": 0.8, "high": 0.99}},
            {"train.optimizer": "AdamW"},
        ),
        ({"optimizer": "SGD"}, {"lr0": LR0}, {}),
        ({}, {"lr0": LR0, "optimizer": {"choices": ["SGD", "AdamW"]}}, {}),
        ({}, {"mosaic": {"low": 0, "high": 1}}, {}),
    ],
)
def test_the_optimizer_is_named_where_ultralytics_would_ignore_the_learning_rate(
    train: dict[str, Any], entries: dict[str, Any], fixed: dict[str, Any]
) -> None:
    assert space(train, **entries).fixed == fixed


def test_values_that_params_have_now_are_known_if_all_are_named_and_in_the_space() -> None:
    entries = {"lr0": LR0, "BATCH_SIZE": {"choices": [4, 8]}}
    named = Params(train={"lr0": 0.01}, search=entries)
    assert search_space(named).present(named) == {"lr0": 0.01, "BATCH_SIZE": 8}
    for other in (Params(search=entries), Params(train={"lr0": 0.5}, search=entries)):
        assert search_space(other).present(other) is None


def test_values_survive_being_text() -> None:
    found = space(lr0=LR0, nbs={"low": 1, "high": 64}, cos_lr={"choices": [True, False]})
    for name, value in {"lr0": 0.0034712938471123, "nbs": 17, "cos_lr": False}.items():
        read = found.dimensions[name].read(str(value))
        assert (read, type(read)) == (value, type(value))


def test_hyperparameters_are_under_train_and_the_rest_at_the_top() -> None:
    assert (path_of("lr0"), path_of("IMG_SIZE")) == ("train.lr0", "IMG_SIZE")

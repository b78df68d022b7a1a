"""What a search may try: the section ``search`` of ``params.yaml``.

search:
  lr0: {low: 0.0001, high: 0.02, log: true}
  close_mosaic: {low: 0, high: 20, step: 5}
  optimizer: {choices: [SGD, AdamW]}
  IMG_SIZE: {choices: [320, 640]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from loop.errors import Misconfigured
from train.hyperparameters import HYPERPARAMETERS, check_hyperparameters
from train.params import Params

_SECTION = "search"
# At the top of params.yaml; all others are under `train`.
_TOP_LEVEL = frozenset({"BATCH_SIZE", "IMG_SIZE"})
_INTEGERS = frozenset({"nbs", "freeze", "max_det", "close_mosaic"}) | _TOP_LEVEL
# With `optimizer: auto` Ultralytics chooses these itself and ignores what it is told
# (`BaseTrainer.build_optimizer`); AdamW is what it takes for up to 10,000 steps.
_CHOSEN_BY_AUTO = frozenset({"lr0", "momentum", "warmup_bias_lr"})
_OPTIMIZER_FOR_THEM = "AdamW"

Value = bool | int | float | str
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, whole ones if both are ``int``.

    ``log`` draws uniformly in the logarithm; ``step`` counts from ``low``.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int)

    def __contains__(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]

    def read(self, text: str) -> Value:
        """The value that ``str`` made ``text`` of."""
        return int(text) if self.whole else float(text)

    def examples(self) -> tuple[Value, ...]:
        """Values that a parameter's own limits are checked with."""
        second = self.low + (self.step or 1)
        return (
            (self.low, min(second, self.high), self.high) if self.whole else (self.low, self.high)
        )


@dataclass(frozen=True, slots=True)
class Choices:
    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def read(self, text: str) -> Value:
        """The value that ``str`` made ``text`` of."""
        return next(value for value in self.values if str(value) == text)

    def examples(self) -> tuple[Value, ...]:
        return self.values


Dimension = Range | Choices


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """``dimensions`` by the hyperparameters' names, as under ``train`` or at the top of
    ``params.yaml``; ``fixed`` is what every trial needs besides, by names of `path_of`."""

    dimensions: Mapping[str, Dimension]
    fixed: Values

    def changes(self, values: Values) -> dict[str, Value]:
        """What has to be set in ``params.yaml`` for ``values``, by `path_of`."""
        return dict(self.fixed) | {path_of(name): value for name, value in values.items()}

    def applied(self, params: Params, values: Values) -> Params:
        """``params`` with ``values``. Raises `Misconfigured` for one that cannot be."""
        return _with(params, self.changes(values))

    def present(self, params: Params) -> dict[str, Value] | None:
        """The values that ``params`` have now; None unless all are named there and in the space."""
        found = {name: _value_of(params, name) for name in self.dimensions}
        if all(found[name] in dimension for name, dimension in self.dimensions.items()):
            return found
        return None


def path_of(name: str) -> str:
    """Where a hyperparameter is in ``params.yaml``: ``train.lr0``, ``BATCH_SIZE``."""
    return name if name in _TOP_LEVEL else f"train.{name}"


def search_space(params: Params) -> SearchSpace:
    """The space in ``params.search``. Raises `Misconfigured` and says what is wrong with it."""
    if not params.search:
        raise Misconfigured(
            "params.yaml: search is empty, so there is nothing to try.",
            hint="For example: search: {lr0: {low: 0.0001, high: 0.02, log: true}}",
        )
    dimensions = {name: _dimension(name, entry) for name, entry in params.search.items()}
    space = SearchSpace(dimensions, _fixed(params, dimensions))
    for name, dimension in dimensions.items():
        for value in dimension.examples():
            if name in _TOP_LEVEL:
                _with(params, {name: value})
            else:
                check_hyperparameters({name: value}, _SECTION)
    return space


def _dimension(name: str, entry: Any) -> Dimension:
    if name not in _TOP_LEVEL and name not in HYPERPARAMETERS:
        check_hyperparameters({name: None}, _SECTION)
    if isinstance(entry, dict) and set(entry) == {"choices"}:
        return _choices(name, entry["choices"])
    if isinstance(entry, dict) and {"low", "high"} <= set(entry) <= {"low", "high", "log", "step"}:
        return _range(name, entry)
    raise _wrong(name, f"is {entry!r}")


def _choices(name: str, values: Any) -> Choices:
    if not isinstance(values, list) or not values:
        raise _wrong(name, "has no choices")
    if not all(isinstance(value, bool | int | float | str) for value in values):
        raise _wrong(name, "has a choice that is neither a number nor a word, true or false")
    if len({str(value) for value in values}) < len(values):
        raise _wrong(name, "has the same choice twice")
    return Choices(tuple(values))


def _range(name: str, entry: Mapping[str, Any]) -> Range:
    whole = name in _INTEGERS
    low, high = (_number(name, bound, entry[bound], whole) for bound in ("low", "high"))
    step = _number(name, "step", entry["step"], whole) if "step" in entry else None
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise _wrong(name, f"has log: {log!r}, which is neither true nor false")
    if low >= high:
        raise _wrong(name, f"has low {low:g}, which is not below its high {high:g}")
    if log and low <= 0:
        raise _wrong(name, f"has log: true, so its low must be above 0, not {low:g}")
    if log and step is not None:
        raise _wrong(name, "has both log and step")
    if step is not None and not 0 < step <= high - low:
        raise _wrong(name, f"has step {step:g}, which does not fit between low and high")
    return Range(low, high, log, step)


def _number(name: str, bound: str, value: Any, whole: bool) -> float:
    # PyYAML reads 1e-5 as text: YAML 1.1 wants 1.0e-5.
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _wrong(name, f"has {bound}: {value!r}, which is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise _wrong(name, f"has {bound}: {value!r}, which is not a number")
    if not whole:
        return float(value)
    if value != int(value):
        raise _wrong(name, f"has {bound}: {value!r}, and must be a whole number")
    return int(value)


def _fixed(params: Params, dimensions: Mapping[str, Dimension]) -> dict[str, Value]:
    auto = str(params.train.get("optimizer", "auto")).lower() == "auto"
    if auto and "optimizer" not in dimensions and _CHOSEN_BY_AUTO & set(dimensions):
        return {path_of("optimizer"): _OPTIMIZER_FOR_THEM}
    return {}


def _with(params: Params, changes: Values) -> Params:
    document = params.model_dump()
    document["train"] = dict(params.train)
    for path, value in changes.items():
        section, _, name = path.rpartition(".")
        (document[section] if section else document)[name] = value
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise Misconfigured(
            f"params.yaml: search.{first['loc'][0]} would try {first['input']!r}: {first['msg']}.",
            hint="Give choices, or a range with a step, that hold only what can be.",
        ) from error


def _value_of(params: Params, name: str) -> Any:
    return getattr(params, name) if name in _TOP_LEVEL else params.train.get(name)


def _wrong(name: str, problem: str) -> Misconfigured:
    return Misconfigured(
        f"params.yaml: search.{name} {problem}.",
        hint="Give {low: …, high: …}, with log: true or a step if you like, or {choices: […]}.",
    )

"""Ultralytics checkpoints (``.pt``), read as the untrusted files that they are.

A checkpoint is a pickle; only known classes of torch and Ultralytics are built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.ultralytics_env import prepare, require_safe_loading
from loop.classes import ClassList
from loop.errors import InvalidInput, LoopError, NotFound

# Above it one image takes gigabytes; a checkpoint that asks for more is broken or hostile.
_LARGEST_IMAGE_SIZE = 4096
_DEFAULT_IMAGE_SIZE = 640
# Ultralytics pads to this multiple of pixels even where the network would do with less.
_LEAST_STRIDE = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``model`` is a torch module for detection; the rest of the file is only read through this."""

    model: Any
    classes: ClassList
    _rest: Mapping[str, Any]

    @property
    def image_size(self) -> int:
        """The longer side in pixels that it was trained at. Raises `InvalidInput` for nonsense."""
        trained = (self._rest.get("train_args") or {}).get("imgsz", _DEFAULT_IMAGE_SIZE)
        size = max(trained) if isinstance(trained, list | tuple) and trained else trained
        if not isinstance(size, int) or not 32 <= size <= _LARGEST_IMAGE_SIZE:
            raise InvalidInput(
                f"The checkpoint was trained at an image size of {size!r}.",
                hint=f"Give an image size between 32 and {_LARGEST_IMAGE_SIZE} pixels.",
                code="invalid_weights",
            )
        return size

    @property
    def stride(self) -> int:
        """Both sides of the network's input are multiples of so many pixels."""
        return max(int(self.model.stride.max()), _LEAST_STRIDE)


def read_checkpoint(weights: Path, config_dir: Path) -> Checkpoint:
    """Read a detection checkpoint; ``config_dir`` is where Ultralytics keeps its settings.

    Raises `NotFound`, and `InvalidInput` for a file that is not such a checkpoint; no code from it
    runs.
    """
    if not weights.is_file():
        raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
    if weights.suffix != ".pt":
        raise InvalidInput(f"{weights} is not a .pt file.", hint="Give an Ultralytics checkpoint.")
    prepare(config_dir)
    require_safe_loading()
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, rest = load_checkpoint(str(weights.absolute()))
    except Exception as error:  # the bytes are anyone's, so any exception may come out of them
        raise InvalidInput(
            f"{weights} cannot be loaded as an Ultralytics checkpoint "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}).",
            hint="Use a .pt file that Ultralytics 8.4 or Second Look wrote, and check its digest.",
            code="invalid_weights",
        ) from error
    if getattr(model, "task", None) != "detect":
        raise InvalidInput(
            f"{weights} is a model for {getattr(model, 'task', 'something else')!r}.",
            hint="Second Look serves models for the task 'detect'.",
            code="invalid_weights",
        )
    return Checkpoint(model, _class_list(model), rest)


def _class_list(model: Any) -> ClassList:
    try:
        names = dict(model.names)
        return ClassList(tuple(str(names[index]) for index in range(len(names))))
    except (AttributeError, KeyError, TypeError, ValueError, LoopError) as error:
        raise InvalidInput(
            f"The checkpoint has no usable list of class names: {error}.",
            hint="Class ids must be 0, 1, 2, … with a name each.",
            code="invalid_weights",
        ) from error

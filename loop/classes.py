"""The classes a detector knows, in order: a class id is a place in this list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loop.errors import InvalidInput
from loop.events import Actor, Event


@dataclass(frozen=True, slots=True)
class ClassList:
    """Class names in id order. Raises `InvalidInput` for an empty list, blanks or repeats."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InvalidInput("A class list needs at least one name.")
        if any(not name.strip() for name in self.names):
            raise InvalidInput(f"A class name is blank: {list(self.names)}.")
        if len(set(self.names)) != len(self.names):
            raise InvalidInput(f"A class name stands twice: {list(self.names)}.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def name_of(self, class_id: int) -> str:
        if not 0 <= class_id < len(self.names):
            raise InvalidInput(
                f"There is no class {class_id}.", hint=f"Classes are 0 to {len(self.names) - 1}."
            )
        return self.names[class_id]

    def id_of(self, name: str) -> int:
        try:
            return self.names.index(name)
        except ValueError:
            raise InvalidInput(
                f"There is no class {name!r}.", hint=f"Known classes: {', '.join(self.names)}."
            ) from None


def classes_event(classes: ClassList, actor: Actor) -> Event:
    return Event(type="classes.defined", actor=actor, subject={"classes": list(classes)})

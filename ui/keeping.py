"""What was read or made lately, so that it is not read or made again."""

from __future__ import annotations

from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def keep(kept: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> _Value:
    """Put ``value`` into ``kept``, and forget what was put there longest ago, above ``most``.

    Safe to call from several threads at once.
    """
    kept[key] = value
    while len(kept) > most:
        kept.pop(next(iter(list(kept))), None)
    return value

from __future__ import annotations

from ui.keeping import keep


def test_what_was_put_there_longest_ago_is_forgotten_first() -> None:
    kept: dict[str, int] = {}
    for number, name in enumerate("abcd"):
        assert keep(kept, name, number, most=2) == number
    assert kept == {"c": 2, "d": 3}

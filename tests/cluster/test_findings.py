from __future__ import annotations

import threading

from cluster.findings import Check, Finding, looked_at_once
from loop.errors import Unavailable


def good() -> list[Finding]:
    return [Finding("good", "fine", True)]


def test_findings_come_in_the_order_of_the_checks() -> None:
    other = Check("other", lambda: [Finding("other", "as well"), Finding("other", "twice")])
    found = looked_at_once([Check("good", good), other])
    assert [each.found for each in found] == ["fine", "as well", "twice"]


def test_what_hangs_is_left_behind_and_told() -> None:
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait()
        return []

    try:
        found = looked_at_once([Check("hangs", hang, 0.05), Check("good", good)])
    finally:
        never.set()
    assert [(each.what, each.ok) for each in found] == [("hangs", False), ("good", True)]
    assert "no answer within" in found[0].found
    assert found[0].hint


def test_what_raises_is_a_finding_and_the_others_are_told() -> None:
    def ours() -> list[Finding]:
        raise Unavailable("It is away.", hint="Start it.")

    def theirs() -> list[Finding]:
        raise KeyError("x")

    found = looked_at_once([Check("ours", ours), Check("theirs", theirs), Check("good", good)])
    assert found[0] == Finding("ours", "It is away.", False, "Start it.")
    assert (found[1].what, found[1].found, found[1].ok) == ("theirs", "KeyError: 'x'", False)
    assert found[2].ok

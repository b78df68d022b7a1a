from __future__ import annotations

from loop.progress import ActiveSeconds, Done, Verdicts


def test_what_is_done_is_both_kinds_together() -> None:
    assert Done(3, 2).total == 5


def test_the_median_of_no_answers_is_none() -> None:
    assert ActiveSeconds().median_first is None
    assert ActiveSeconds((1, 2, 30), ()).median_first == 2
    assert ActiveSeconds((), (4, 6)).median_second == 5


def test_whatever_was_not_accepted_as_it_was_is_overridden() -> None:
    both = Verdicts(accepted=3, moved=1, added=4) + Verdicts(accepted=3, relabelled=1, rejected=2)
    assert both == Verdicts(6, 1, 1, 2, 4)
    assert both.detections == 10
    assert both.overridden == 0.4
    assert Verdicts(added=4).overridden is None

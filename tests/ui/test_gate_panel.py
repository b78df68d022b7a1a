from __future__ import annotations

import re
from dataclasses import replace

from loop.bootstrap import Interval
from loop.gate_record import ClassChange, GateRecord
from loop.gate_settings import GateSettings
from loop.latency import Latency
from loop.spending import Use
from tests.ui.training_fakes import promotion
from ui.gate_panel import gate_panel
from ui.training_verdict import verdict

RECORD = GateRecord(
    use=Use(3, 0.0045, 0.0135, 0.05, 2),
    settings=GateSettings(),
    images=72,
    groups=72,
    map50_95=Interval(0.052, 0.012, 0.08, 0.02),
    map50=Interval(0.03, -0.01, 0.07, 0.02),
    classes={
        "<cell>": ClassChange(Interval(-0.3, -0.4, -0.2, 0.05), 70),
        "rod": ClassChange(Interval(0.1, None, None, 0.0), 1),
    },
    latency=Latency(41, 38, 1.08, 1.0, 1.1, 72),
    seed=1,
)


def test_each_requirement_has_a_row_with_its_bounds_and_what_became_of_it() -> None:
    shown = gate_panel(RECORD)
    rows = re.findall(r"<tr title=.*?</tr>", shown)
    assert len(rows) == 4
    words = ("✓ met", "? open", "✗ not met", "? open")
    for row, word in zip(rows, words, strict=True):
        assert word in row
    assert all(number in rows[0] for number in ("+0.052", "+0.012", "+0.080", "+0.000"))
    assert "-0.100" in rows[2]
    assert "<td>?</td><td>?</td>" in rows[3]
    assert "comparison 3 on this gold set, at a risk of 0.45%" in shown
    assert "1.08 times the champion's" in shown.replace("&#x27;", "'")


def test_names_of_classes_stay_text() -> None:
    assert "&lt;cell&gt;, AP50-95" in gate_panel(RECORD)
    assert "<cell>" not in gate_panel(RECORD)


def test_the_pictures_lie_inside_their_cell_whatever_the_bounds_are() -> None:
    for record in (RECORD, replace(RECORD, map50_95=Interval(0.9, -3.0, 2.0, 1.0))):
        for value in re.findall(r' (?:x1|x2|cx)="([-0-9.]+)"', gate_panel(record)):
            assert 0 <= float(value) <= 220


def test_subjects_are_named_where_images_share_them() -> None:
    assert "72 gold images of 20 subjects" in gate_panel(replace(RECORD, groups=20))


def test_a_verdict_shows_it_and_one_of_the_former_rule_does_without() -> None:
    assert "What the verdict rests on" in verdict(promotion("2", "1", gate=RECORD), "otter")
    assert "What the verdict rests on" not in verdict(promotion("2", "1"), "otter")

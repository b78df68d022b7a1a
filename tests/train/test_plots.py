from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.test_results import ROW
from train.plots import write_plots
from train.results import spread


@pytest.fixture
def page(tmp_path: Path) -> str:
    rows = [replace(ROW, fold=0, map50=0.4), replace(ROW, fold=1, map50=0.6)]
    history = [{"epoch": 1.0, "map50": 0.2}, {"epoch": 2.0, "map50": 0.4}]
    write_plots(tmp_path / "plots.html", rows, spread(rows), {0: history, 1: history})
    return (tmp_path / "plots.html").read_text(encoding="utf-8")


def test_the_page_shows_each_fold_and_their_mean(page: str) -> None:
    assert page.count("Plotly.newPlot(") == 4
    for text in ("fold 0", "fold 1", "mean ± sd", "mAP50-95"):
        assert text in page


def test_the_page_needs_no_network(page: str) -> None:
    assert not re.search(r"<script[^>]+src=", page)
    assert not re.search(r"<link[^>]+href=", page)

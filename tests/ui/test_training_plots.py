from __future__ import annotations

from loop.metrics import PrecisionRecall
from tests.ui.training_fakes import FakeTracking
from ui.run_book import RunBook
from ui.training_plots import learning_curves, precision_recall_curves


def test_each_fold_has_a_line_with_a_symbol_of_its_own_in_every_panel() -> None:
    tracking = FakeTracking()
    tracking.cv("a")
    for number in range(3):
        tracking.fold("a", number, epochs=2)
    lines = learning_curves(RunBook(tracking).read("a")).data
    assert len(lines) == 4 * 3
    assert len({line.marker.symbol for line in lines}) == 3
    assert [line.name for line in lines if line.showlegend] == ["fold 0", "fold 1", "fold 2"]
    assert (list(lines[0].x), list(lines[0].y)) == ([1, 2], [0.1, 0.2])


def test_a_class_has_a_panel_with_a_line_for_each_model_that_knows_it() -> None:
    curve = PrecisionRecall((1.0,) * 50 + (0.0,) * 51, (0.9,) * 50 + (None,) * 51)
    models = [
        ("version 1", "#000000", {"cell": curve}),
        ("version 2", "#111111", {"cell": curve, "<b>": curve}),
    ]
    figure = precision_recall_curves(models, ["cell", "<b>"], "key")
    lines = figure.data
    assert [line.name for line in lines] == ["version 1", "version 2", "version 2"]
    assert [line.line.dash for line in lines] == ["dash", "solid", "solid"]
    assert lines[0].customdata[0] == "0.90"
    assert lines[0].customdata[-1] == ""
    titles = [note.text for note in figure.layout.annotations]
    assert titles[0] == "cell"
    assert "<b>" not in titles

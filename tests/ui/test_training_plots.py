from __future__ import annotations

from loop.metrics import PrecisionRecall
from tests.ui.training_fakes import FakeTracking
from ui.run_book import RunBook
from ui.training_plots import learning_curves, precision_recall_curves, trial_scores


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


def test_the_final_model_has_a_line_where_it_has_values_and_a_name_there() -> None:
    tracking = FakeTracking()
    tracking.fold(tracking.cv("a"), 0, epochs=2)
    refit = tracking.fold("a", 1, 2, **{"loop.kind": "refit"})
    for name in ("map50", "map50_95", "val_box_loss"):
        tracking.histories[refit, name] = []
    lines = learning_curves(RunBook(tracking).read("a")).data
    assert [line.name for line in lines].count("final model") == 1
    assert [line.name for line in lines if line.showlegend] == ["fold 0", "final model"]


def test_trials_are_shown_by_how_they_ended_and_only_finished_ones_are_best() -> None:
    tracking = FakeTracking()
    search = tracking.cv("s", **{"loop.kind": "search"})
    tracking.trial(search, 0, 0.3, "FINISHED", lr0="<1>")
    tracking.trial(search, 1, 0.5, "KILLED", lr0="2")
    tracking.trial(search, 2, 0.4, "FINISHED", lr0="3")
    tracking.trial(search, 3, None, lr0="4")
    best, finished, others = trial_scores(RunBook(tracking).read("s")).data
    assert (list(best.x), list(best.y)) == ([0, 1, 2], [0.3, 0.3, 0.4])
    assert (list(finished.x), list(others.x)) == ([0, 2], [1])
    assert finished.customdata[0] == "lr0 &lt;1>"


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

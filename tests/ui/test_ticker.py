from __future__ import annotations

import gradio as gr

from ui.ticker import tick, ticker


def test_an_answer_is_never_the_same_twice() -> None:
    answers = {tick(True) for _ in range(100)}
    assert len(answers) == 100


def test_only_a_live_answer_asks_for_more() -> None:
    assert tick(True).startswith("live")
    assert not tick(False).startswith("live")


def test_it_has_both_events_and_no_value_that_everybody_could_read() -> None:
    with gr.Blocks():
        look = ticker()
        look.opened(lambda: None)
        look.ticked(lambda: None)
    assert look.value is None

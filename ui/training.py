"""The training page: start a cross-validation, watch it, compare what came out, and decide."""

from __future__ import annotations

from typing import Protocol

import gradio as gr

from loop.ports import Aliases, ImageStore, UnitsOfWork
from ui.gold_book import GoldBook, Texts, Versions
from ui.model_examples import Pictures
from ui.operations import Operations
from ui.run_book import RunBook, Runs
from ui.training_compare import build_compare
from ui.training_decide import build_decide
from ui.training_runs import build_runs
from ui.training_start import Guard, build_start


class Tracked(Runs, Texts, Protocol):
    """What is needed of `store.tracking.Tracking`."""


class Registry(Versions, Aliases, Protocol):
    """What is needed of `store.model_registry.ModelRegistry`."""


def build_training(
    guard: Guard,
    units: UnitsOfWork,
    images: ImageStore,
    tracking: Tracked,
    registry: Registry,
    operations: Operations,
) -> None:
    """Fill the tab. Nothing of anybody's is read before a person who may see it opens a section."""
    jobs, gold = operations.jobs, GoldBook(units, registry, tracking)
    with gr.Tabs(elem_classes="slt"):
        with gr.Tab("Start", id="start"):
            build_start(guard, jobs)
        with gr.Tab("Runs", id="runs"):
            build_runs(guard, jobs, RunBook(tracking))
        with gr.Tab("Compare", id="compare"):
            build_compare(guard, jobs, gold, Pictures(images), operations.min_confidence)
        with gr.Tab("Decide", id="decide"):
            build_decide(guard, units, registry, gold, operations.find_swap, operations.approvers)

"""A model card, by the sections of Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

arXiv:1810.03993. It is written from the same records as the technical documentation, with the same
evidence and the same gaps.
"""

from __future__ import annotations

from loop.techfile import Item, Section, Techfile
from loop.techfile_contents import techfile_of
from loop.techfile_data import counts_items, gold_set_items, provenance_items, split_items
from loop.techfile_development import training_items
from loop.techfile_general import version_items
from loop.techfile_labelling import agreement_items, labelling_items
from loop.techfile_life import limit_items
from loop.techfile_people import decision_items, override_items
from loop.techfile_records import Records
from loop.techfile_scores import class_items, fold_items, gold_items

INTRODUCTION = (
    "It produces evidence for an assessment and assesses nothing itself. Each statement names what "
    "it rests on; what is not on record is said to be a gap."
)


def write_card(records: Records) -> Techfile:
    """The card as a document of its own, with the events that it cites."""
    item = records.operator.item
    sections = (
        _section(
            "Model details",
            "Who made it, which version it is, how it was trained.",
            item("provider"),
            *version_items(records),
            *training_items(records),
            item("data_licence"),
        ),
        _section(
            "Intended use",
            "What it is for, for whom, and what it is not for.",
            item("intended_purpose"),
            item("intended_users"),
            item("limitations"),
        ),
        _section(
            "Factors",
            "Groups, instruments and environments on which its performance may depend.",
            item("affected_people"),
            item("input_data"),
            *split_items(records),
        ),
        _section(
            "Metrics",
            "How it is measured, and how that varies.",
            item("metrics_rationale"),
            *fold_items(records),
        ),
        _section(
            "Evaluation data",
            "On which data it was measured, and why on that.",
            *gold_set_items(records),
        ),
        _section(
            "Training data",
            "On which data it was trained.",
            *counts_items(records),
            *provenance_items(records),
            *labelling_items(records),
            *agreement_items(records),
            item("data_selection"),
        ),
        _section(
            "Quantitative analyses",
            "Its results, by class and against the model before it.",
            *class_items(records),
            *gold_items(records),
        ),
        _section(
            "Ethical considerations",
            "Risks, people's oversight, and who decided.",
            item("risks"),
            item("bias_tests"),
            *override_items(records),
            *decision_items(records),
        ),
        _section(
            "Caveats and recommendations",
            "What else whoever uses it should know.",
            *limit_items(records),
            item("oversight_measures"),
        ),
    )
    return techfile_of(records, sections)


def _section(title: str, asks: str, *items: Item) -> Section:
    return Section(title, title, asks, items)

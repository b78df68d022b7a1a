"""What only the operator can say in the technical documentation: the fields of techfile.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from loop.errors import InvalidInput
from loop.techfile import Evidence, Gap, Item, Source, Statement

FILE = "techfile.yaml"
_LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Field:
    """``what`` completes "not recorded: …"; ``title`` stands before the operator's text."""

    name: str
    title: str
    what: str
    point: str


FIELDS = (
    Field("provider", "Provider", "who the provider is (name, address, contact)", "1(a)"),
    Field("intended_purpose", "Intended purpose", "what the system is intended for", "1(a)"),
    Field("intended_users", "Intended users", "who the intended users are", "1(a)"),
    Field(
        "other_systems",
        "Other systems",
        "which hardware, software and other AI systems it works together with at the deployer's",
        "1(b)",
    ),
    Field(
        "update_requirements",
        "Updates",
        "what deployers must do when versions are updated",
        "1(c)",
    ),
    Field(
        "market_forms",
        "Forms on the market",
        "in which forms the system is placed on the market or put into service",
        "1(d)",
    ),
    Field("hardware", "Hardware to run on", "which hardware it is intended to run on", "1(e)"),
    Field(
        "product",
        "Product",
        "whether it is a component of a product, and where that product's pictures are",
        "1(f)",
    ),
    Field(
        "instructions_for_use",
        "Instructions for use",
        "where the instructions for use for the deployer are",
        "1(h)",
    ),
    Field(
        "pretrained",
        "Pre-trained systems and tools",
        "which pre-trained systems it rests on, and how they were trained and changed",
        "2(a)",
    ),
    Field(
        "design_choices",
        "Design choices",
        "the key design choices with their rationale, assumptions and trade-offs",
        "2(b)",
    ),
    Field(
        "affected_people",
        "People and groups",
        "on which persons or groups of persons it is to be used",
        "2(b)",
    ),
    Field(
        "training_hardware",
        "Hardware of the training",
        "on which kind of processors and GPUs it was trained",
        "2(c)",
    ),
    Field(
        "data_selection",
        "How the data was obtained and selected",
        "how the images were obtained and selected, on which legal basis",
        "2(d)",
    ),
    Field("data_creator", "Creator of the data set", "who made the data set", "2(d)"),
    Field("data_licence", "Licence of the data set", "under which licence the data is", "2(d)"),
    Field("data_url", "Page of the data set", "a page on the web about the data set", "2(d)"),
    Field(
        "labelling_instructions",
        "Labelling instructions",
        "what reviewers were told to mark, and how they were trained",
        "2(d)",
    ),
    Field(
        "oversight_measures",
        "Oversight at the deployer's",
        "which human oversight measures deployers need (Article 14), and how people are to read "
        "the outputs (Article 13(3)(d))",
        "2(e)",
    ),
    Field(
        "planned_changes",
        "Pre-determined changes",
        "which changes to the system and its performance are pre-determined",
        "2(f)",
    ),
    Field(
        "bias_tests",
        "Robustness and discrimination",
        "tests of robustness and of potentially discriminatory impacts",
        "2(g)",
    ),
    Field(
        "test_signatures",
        "Signatures under the tests",
        "which responsible persons dated and signed the test reports",
        "2(g)",
    ),
    Field(
        "cybersecurity",
        "Cybersecurity around it",
        "which cybersecurity measures protect the network, machines and backups around it",
        "2(h)",
    ),
    Field(
        "limitations",
        "Limitations",
        "known limits of its performance, and accuracy that is expected for its purpose",
        "3",
    ),
    Field(
        "risks",
        "Unintended outcomes and risks",
        "foreseeable unintended outcomes and risks to health, safety and fundamental rights",
        "3",
    ),
    Field("input_data", "Input data", "which input data it must be given", "3"),
    Field(
        "metrics_rationale",
        "Why these metrics",
        "why these performance metrics suit the intended purpose",
        "4",
    ),
    Field(
        "risk_management",
        "Risk management system",
        "the risk management system (Article 9)",
        "5",
    ),
    Field("standards", "Standards applied", "which standards were applied", "7"),
    Field(
        "declaration",
        "EU declaration of conformity",
        "a copy of the EU declaration of conformity (Article 47)",
        "8",
    ),
    Field(
        "post_market_plan",
        "Post-market monitoring plan",
        "the post-market monitoring plan (Article 72(3))",
        "9",
    ),
)
_BY_NAME = {each.name: each for each in FIELDS}


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator wrote, by field; ``sha256`` and ``path`` are of the file, empty without
    one."""

    answers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    path: str = ""

    def item(self, name: str) -> Item:
        """The operator's words under their title, or the gap that they leave."""
        about = _BY_NAME[name]
        said = self.answers.get(name, "")
        if not said:
            return Gap(about.what, f"The operator writes it in {FILE}, field {name}.")
        evidence = (
            Evidence(Source.OPERATOR, name, f"{FILE}, field {name}"),
            Evidence(Source.FILE, self.sha256, self.path),
        )
        return Statement(f"{about.title}, in the operator's words:", evidence, said)

    def of_point(self, point: str) -> tuple[Item, ...]:
        return tuple(self.item(each.name) for each in FIELDS if each.point == point)


def read_answers(raw: Any) -> dict[str, str]:
    """From what the YAML holds. Raises `InvalidInput` for unknown fields and other values than
    text, numbers and lists of them."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise InvalidInput(
            f"{FILE} is not a list of fields.", hint="Begin again: secondlook techfile init"
        )
    unknown = sorted(str(name) for name in raw if name not in _BY_NAME)
    if unknown:
        raise InvalidInput(
            f"{FILE} has a field {unknown[0]!r}, which is not known.",
            hint=f"The fields are {', '.join(_BY_NAME)}.",
        )
    found = {name: _text(name, value) for name, value in raw.items()}
    return {name: text for name, text in found.items() if text}


def template() -> str:
    """The file to fill in, with a comment a field."""
    lines = [
        "# What only you can say in the technical documentation of a model (EU AI Act, Annex IV).",
        "# `secondlook techfile build MODEL` reads it. A field that is left empty stands in the",
        "# document as a gap. Text may go over several lines (after a |), or be a list.",
        "",
    ]
    for each in FIELDS:
        comment = each.what[0].upper() + each.what[1:]
        lines += [f"# Point {each.point}. {comment}.", f"{each.name}:", ""]
    return "\n".join(lines)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(f"- {_text(name, each)}" for each in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        raise InvalidInput(
            f"{FILE}: {name} is neither text nor a list of texts.",
            hint="Put it in quotes, or behind a | on lines of its own.",
        )
    text = str(value).strip()
    if len(text) > _LONGEST:
        raise InvalidInput(
            f"{FILE}: {name} has more than {_LONGEST} characters.",
            hint="Keep a document of its own, and name it here.",
        )
    return text

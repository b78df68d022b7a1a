from __future__ import annotations

import json
from dataclasses import replace

import pytest

from loop.errors import InvalidInput
from loop.model_card import write_card
from loop.techfile import Evidence, Gap, Section, Source, Statement, Table, Techfile, cited
from loop.techfile_contents import write_techfile
from loop.techfile_operator import FIELDS, Operator, read_answers, template
from loop.techfile_records import Records
from loop.techfile_words import INTRODUCTION, facts
from tests.loop.papers import REF, bare, entry, full

# Regulation (EU) 2024/1689, Annex IV; point 3 has no letters, and is parted by what it names.
POINTS = [
    "1", "1(a)", "1(b)", "1(c)", "1(d)", "1(e)", "1(f)", "1(g)", "1(h)",
    "2", "2(a)", "2(b)", "2(c)", "2(d)", "2(e)", "2(f)", "2(g)", "2(h)",
    "3", "3.1", "3.2", "3.3", "3.4", "4", "5", "6", "7", "8", "9",
]  # fmt: skip
EVIDENCE = (Evidence(Source.SOFTWARE, "a", "b"),)


def by_number(document: Techfile) -> dict[str, Section]:
    return {section.number: section for section in document.walk()}


def gaps(records: Records) -> dict[str, str]:
    """The point at which each gap is named first."""
    found = [(gap.what, section.number) for section, gap in write_techfile(records).gaps()]
    return dict(reversed(found))


@pytest.mark.parametrize("records", [bare(), full()], ids=["bare", "full"])
def test_every_point_of_annex_iv_is_there_whatever_is_on_record(records: Records) -> None:
    document = write_techfile(records)
    assert [section.number for section in document.walk()] == POINTS
    for section in document.walk():
        assert section.items or section.parts


def test_what_is_not_on_record_is_a_gap_that_says_who_can_mend_it() -> None:
    document = write_techfile(bare())
    assert {section.number for section, _ in document.gaps()} >= {
        "1(a)", "1(e)", "2(a)", "2(c)", "2(d)", "2(e)", "2(g)", "2(h)", "3.1", "5", "6", "8", "9",
    }  # fmt: skip
    for _, gap in document.gaps():
        assert gap.what
        assert gap.how


@pytest.mark.parametrize(
    ("missing", "what", "point"),
    [
        ({"folds": []}, "how the weights were trained", "2(a)"),
        ({"folds": []}, "scores of folds", "2(g)"),
        ({"snapshot": None, "shards": None}, "on which data it was trained", "2(d)"),
        ({"shards": None}, "where the snapshot's images came from", "2(d)"),
        ({"promotion": None}, "a measurement on the gold set and the gate's verdict", "2(g)"),
        ({"promotion": None}, "that a person decided about this version", "2(e)"),
        ({"oversight": bare().oversight}, "how far people agree with one another", "2(d)"),
        ({"oversight": bare().oversight}, "how often people overrode the model", "2(e)"),
        (
            {"folds": [replace(run, metrics={"best_map50": 0.5}) for run in full().folds]},
            "recall of the folds",
            "2(g)",
        ),
        ({"log": None}, "an audit log", "2(h)"),
        ({"events": full().events[:-1]}, "that anyone verified the audit log", "2(h)"),
        ({"drift": ""}, "a reference that drift is measured against", "9"),
        ({"events": []}, "any change of the system", "6"),
        (
            {"events": []},
            "how the data was split, and whether near-duplicates were kept together",
            "2(d)",
        ),
    ],
)
def test_a_record_that_goes_missing_turns_into_its_gap(
    missing: dict[str, object], what: str, point: str
) -> None:
    assert what not in gaps(full())
    assert gaps(replace(full(), **missing))[what] == point  # type: ignore[arg-type]


@pytest.mark.parametrize("field", FIELDS, ids=[each.name for each in FIELDS])
def test_each_field_of_the_operator_is_asked_for_and_quoted(field: object) -> None:
    name, what = field.name, field.what  # type: ignore[attr-defined]
    said = {each.name: "Said." for each in FIELDS if each.name != name}
    document = write_techfile(replace(full(), operator=Operator(said, "e" * 64, "techfile.yaml")))
    assert what in {gap.what for _, gap in document.gaps()}
    quoted = {
        each.ref
        for section in write_techfile(full()).walk()
        for item in section.items
        if isinstance(item, Statement) and item.quoted
        for each in item.evidence
    }
    assert name in quoted


def test_a_class_that_no_fold_shows_is_named() -> None:
    folds = [
        replace(run, metrics={n: v for n, v in run.metrics.items() if not n.endswith("/rod")})
        for run in full().folds
    ]
    assert gaps(replace(full(), folds=folds))["a score in the folds for the class rod"] == "2(g)"


def test_statements_cite_events_that_the_document_holds_and_no_others() -> None:
    document = write_techfile(full())
    assert {each.index for each in document.events} == cited(document.sections)
    assert {each.event.type for each in document.events} >= {
        "snapshot.created", "folds.created", "kfold.started", "fold.ended", "model.registered",
        "gate.decided", "promotion.approved", "labels.compared", "trial.stopped", "impact.measured",
    }  # fmt: skip


def test_what_happened_to_another_version_is_not_said_of_this_one() -> None:
    other = {"model": REF.as_dict() | {"version": "3"}, "champion": REF.as_dict()}
    records = replace(full(), events=[entry(0, "impact.measured", other, {"fixed": 3})])
    assert gaps(records)["what it changed on cases that people had settled"] == "9"


def test_who_decides_otherwise_than_the_gate_is_named() -> None:
    subject = {"promotion_id": "promotion-1", "model": REF.as_dict()}
    approved = entry(0, "promotion.approved", subject, {"overrules_the_gate": True})
    items = by_number(write_techfile(replace(full(), events=[approved])))["2(e)"].items
    told = [item for item in items if isinstance(item, Statement) and "otherwise" in item.text]
    assert [each.text for each in told] == ["engineer-1 decided otherwise than the gate."]
    assert told[0].evidence == (approved.evidence,)


def test_spread_over_folds_is_mean_deviation_lowest_and_highest() -> None:
    tables = [i for i in by_number(write_techfile(full()))["2(g)"].items if isinstance(i, Table)]
    spread = next(table for table in tables if table.caption.startswith("Spread over the folds"))
    assert spread.columns == ("score", "mean", "sd", "min", "max", "folds")
    assert spread.rows[0] == ("mAP50-95", "0.600", "0.100", "0.500", "0.700", "3")


def test_names_of_sources_that_are_sealed_are_said_to_be() -> None:
    sealed = entry(0, "dataset.imported", {"format": "voc"}, {"source": "hmac-sha256:" + "0" * 64})
    items = by_number(write_techfile(replace(full(), events=[sealed])))["2(d)"].items
    table = next(i for i in items if isinstance(i, Table) and i.caption.startswith("Data sets"))
    assert table.rows[0][1] == "a sealed name"


@pytest.mark.parametrize("records", [bare(), full()], ids=["bare", "full"])
def test_it_never_judges(records: Records) -> None:
    for document in (write_techfile(records), write_card(records)):
        text = json.dumps([document.as_dict(), INTRODUCTION, facts(document)]).lower()
        assert "compliant" not in text
        assert "conforms to" not in text


@pytest.mark.parametrize("records", [bare(), full()], ids=["bare", "full"])
def test_a_model_card_has_the_sections_of_model_cards(records: Records) -> None:
    titles = [section.title for section in write_card(records).sections]
    assert titles == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]


def test_a_section_without_content_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Section("5", "Risk management", "…")


def test_a_statement_without_evidence_is_refused() -> None:
    with pytest.raises(InvalidInput, match="evidence"):
        Statement("It works.", ())


def test_a_table_whose_rows_do_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="columns"):
        Table("a", ("one", "two"), (("1",),), EVIDENCE)
    with pytest.raises(InvalidInput, match="Not every row"):
        Table("a", ("one",), (("1",), ("2",)), EVIDENCE, by_row=True)


def test_a_gap_names_what_is_missing_and_a_way_to_mend_it() -> None:
    for what, how in (("", "Ask them."), ("who it is", "")):
        with pytest.raises(InvalidInput, match="gap"):
            Gap(what, how)
    assert Gap("who it is", "Ask them.").text == "Not recorded: who it is. Ask them."


def test_the_template_asks_for_every_field_and_answers_none() -> None:
    import yaml

    raw = yaml.safe_load(template())
    assert list(raw) == [each.name for each in FIELDS]
    assert read_answers(raw) == {}


def test_answers_are_text_numbers_dates_and_lists() -> None:
    found = read_answers({"standards": ["a", 2], "provider": " Acme ", "declaration": 3})
    assert found == {"standards": "- a\n- 2", "provider": "Acme", "declaration": "3"}
    assert read_answers(None) == {}


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        ({"povider": "x"}, "povider"),
        ({"provider": {"name": "x"}}, "provider"),
        ({"provider": True}, "provider"),
        ({"provider": "x" * 20_001}, "20000"),
        (["provider"], "not a list of fields"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(raw: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match) as caught:
        read_answers(raw)
    assert caught.value.hint

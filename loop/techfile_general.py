"""Point 1 of the technical documentation: a general description of the system."""

from __future__ import annotations

from loop.techfile import Evidence, Item, Section, Source, Statement, Table
from loop.techfile_records import Records, day

_BASES = {
    "champion": "the weights of the champion at that time,",
    "architecture": "an architecture without weights,",
}


def general(records: Records) -> Section:
    operator = records.operator
    parts = (
        Section(
            "1(a)",
            "Purpose, provider, version",
            "Its intended purpose, the name of the provider, and its version in relation to "
            "previous versions.",
            (*operator.of_point("1(a)"), *version_items(records)),
        ),
        Section(
            "1(b)",
            "What it works together with",
            "How it interacts with hardware or software, other AI systems included, that is not "
            "part of it.",
            (*operator.of_point("1(b)"), _interfaces(records)),
        ),
        Section(
            "1(c)",
            "Software versions",
            "The versions of relevant software or firmware, and requirements on updates.",
            (*operator.of_point("1(c)"), *software_items(records)),
        ),
        Section(
            "1(d)",
            "Forms",
            "All the forms in which it is placed on the market or put into service.",
            (*operator.of_point("1(d)"), _files(records)),
        ),
        Section(
            "1(e)",
            "Hardware",
            "The hardware on which it is intended to run.",
            operator.of_point("1(e)"),
        ),
        Section(
            "1(f)",
            "Product",
            "Where it is a component of products: their external features, marking and layout.",
            operator.of_point("1(f)"),
        ),
        Section(
            "1(g)",
            "User interface",
            "A basic description of the user interface that the deployer is given.",
            (
                Statement(
                    "People work in a web app: they are shown an image with the boxes that the "
                    "model proposes, each with its class and confidence, and accept, move, "
                    "relabel, remove or add boxes. Whoever gives a second answer first draws "
                    "blind. Other tabs show progress, trainings, the gate's verdict with its "
                    "interval, and the people with their roles.",
                    records.software_evidence,
                ),
            ),
        ),
        Section(
            "1(h)",
            "Instructions for use",
            "Instructions for use for the deployer.",
            operator.of_point("1(h)"),
        ),
    )
    return Section("1", "General description", "A general description of the system.", (), parts)


def version_items(records: Records) -> tuple[Item, ...]:
    version, promotion = records.version, records.promotion
    aliases = f", with the alias {', '.join(version.aliases)}" if version.aliases else ""
    items: list[Item] = [
        Statement(
            f"The model is {version.ref.name} version {version.ref.version}{aliases}. Its weights "
            f"have the SHA-256 {version.ref.digest}. It was registered on "
            f"{day(version.registered_at)}.",
            records.registered_evidence,
        )
    ]
    before = records.about_model("promotion.ended")
    if promotion is not None and promotion.champion is not None:
        gate = records.about("promotion_id", promotion.id, "gate.decided")
        items.append(
            Statement(
                f"Before it, version {promotion.champion.version} was in service; it was compared "
                f"with that one on the gold set, and its promotion is {promotion.state.value}.",
                tuple(each.evidence for each in (*gate[-1:], *before[-1:]))
                or records.database_evidence,
            )
        )
    base = version.tags.get("loop.base_weights_sha256", "")
    if base:
        kind = _BASES.get(version.tags.get("loop.base_kind", ""), "weights")
        items.append(
            Statement(
                f"Its training started from {kind} with the SHA-256 {base}.",
                records.registered_evidence,
            )
        )
    return tuple(items)


def _interfaces(records: Records) -> Statement:
    return Statement(
        "Other software reaches it over HTTP: an image goes in (POST /v1/detect, or POST "
        "/v1/images, which also puts it up for review), and boxes in pixels with class and "
        "confidence come out as JSON, with the model's name, version and digest.",
        records.software_evidence,
    )


def software_items(records: Records) -> tuple[Item, ...]:
    made = records.version.tags.get("loop.git_commit", "")
    items: list[Item] = []
    if made:
        items.append(
            Statement(
                f"The version was made with the code {made}.",
                records.registered_evidence,
            )
        )
    rows = tuple(sorted(records.software.items()))
    if rows:
        evidence = (
            Evidence(Source.SOFTWARE, "installed", "packages installed where this was made"),
        )
        items.append(Table("Software, as installed", ("package", "version"), rows, evidence))
    return tuple(items)


def _files(records: Records) -> Item:
    version = records.version
    rows = (
        ("weights (.pt)", version.ref.digest),
        *((format, digest) for format, digest in sorted(version.exports.items())),
    )
    return Table("Files of the version", ("format", "SHA-256"), rows, records.registered_evidence)

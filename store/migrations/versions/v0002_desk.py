"""The reviewers' desk: a queue with its indexes, leases, drafts, sealed blind boxes, reopened
cases; and triggers, so that the database itself keeps answers from being changed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BATCH = 1000
_KEYS = {
    "uncertain": ["uncertain"],
    "disagreed": ["disagreed"],
    "random": ["random"],
    "oldest": [],
}
_NEVER_CHANGED = ("corrections", "blind_reviews", "second_reviews", "annotations")
_NEVER_ONES_OWN = ("blind_reviews", "second_reviews")

_cases = sa.table(
    "cases",
    sa.column("id"),
    sa.column("prediction_id"),
    sa.column("state"),
    sa.column("priority"),
    sa.column("model"),
    sa.column("classes", sa.JSON()),
    sa.column("disagreement"),
    sa.column("shuffle"),
    sa.column("first_reviewer"),
    sa.column("number"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake_cases(_columns_0002(), sa.UniqueConstraint("number"), _SELECT_0002)
    else:
        _alter_cases()
    op.create_index("ix_cases_prediction_id", "cases", ["prediction_id"])
    op.create_index("ix_annotations_case_id", "annotations", ["case_id"])
    op.add_column("second_reviews", sa.Column("dropped", sa.JSON(), nullable=True))
    _create_tables()
    _fill()
    for name, key in _KEYS.items():
        end = ["kept_from", *key, "number"]
        op.create_index(f"case_places_{name}", "case_places", ["class_id", "state", *end])
        op.create_index(
            f"case_places_model_{name}", "case_places", ["model", "class_id", "state", *end]
        )
    _create_guards()


def downgrade() -> None:
    reopened = sa.select(sa.func.count()).where(_cases.c.state == "reopened")
    twice = sa.select(_cases.c.prediction_id).group_by(_cases.c.prediction_id)
    twice = twice.having(sa.func.count() > 1).limit(1)
    connection = op.get_bind()
    if connection.execute(reopened).scalar_one() or connection.execute(twice).first():
        raise RuntimeError("Cases were reopened, for which the schema before has no room.")
    _drop_guards()
    for table in (
        *("blind_reviews", "submissions", "skips", "drafts", "leases"),
        *("case_counts", "case_places"),
    ):
        op.drop_table(table)
    op.drop_column("second_reviews", "dropped")
    op.drop_index("ix_annotations_case_id", table_name="annotations")
    op.drop_index("ix_cases_prediction_id", table_name="cases")
    if connection.dialect.name == "sqlite":
        names = ", ".join(column.name for column in _columns_0001())
        _remake_cases(_columns_0001(), sa.UniqueConstraint("prediction_id"), names)
        return
    for column in _columns_0002()[len(_columns_0001()) :]:
        op.drop_column("cases", column.name)
    op.create_unique_constraint("cases_prediction_id_key", "cases", ["prediction_id"])


def _columns_0001() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
    ]


def _columns_0002() -> list[sa.Column[Any]]:
    return [
        *_columns_0001(),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("disagreement", sa.Float(), nullable=False),
        sa.Column("shuffle", sa.Float(), nullable=False),
        sa.Column("first_reviewer", sa.Text(), nullable=True),
        sa.Column("reopens", sa.String(length=32), sa.ForeignKey("cases.id"), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
    ]


_SELECT_0002 = (
    "id, image_id, prediction_id, state, reasons, priority, created_at, "
    "'', '[]', 0.0, 0.0, NULL, NULL, row_number() OVER (ORDER BY created_at, id)"
)


def _remake_cases(
    columns: list[sa.Column[Any]], unique: sa.UniqueConstraint, selection: str
) -> None:
    """SQLite cannot drop a UNIQUE: `cases` is made anew, and filled with ``selection``.

    Rows elsewhere that refer to it let it go until the commit, and take what has come back into
    the table of that name. Alembic's way, a copy that is renamed, would not count as coming back.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE cases_before AS SELECT * FROM cases")
    op.drop_table("cases")
    op.create_table(
        "cases",
        *columns,
        sa.ForeignKeyConstraint(["image_id"], ["images.id"]),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"]),
        sa.PrimaryKeyConstraint("id"),
        unique,
    )
    op.execute(f"INSERT INTO cases SELECT {selection} FROM cases_before")  # noqa: S608
    op.drop_table("cases_before")
    op.create_index(
        "cases_queue", "cases", ["state", sa.literal_column("priority DESC"), "created_at", "id"]
    )
    op.create_index("ix_cases_image_id", "cases", ["image_id"])


def _alter_cases() -> None:
    op.drop_constraint("cases_prediction_id_key", "cases", type_="unique")
    passing = {"model": "''", "classes": "'[]'", "number": "0", "disagreement": "0", "shuffle": "0"}
    for column in _columns_0002()[len(_columns_0001()) :]:
        default = passing.get(column.name)
        column.server_default = sa.DefaultClause(sa.text(default)) if default else None
        op.add_column("cases", column)
        if default:
            op.alter_column("cases", column.name, server_default=None)
    op.execute(
        "UPDATE cases SET number = counted.number FROM (SELECT id, row_number() OVER "
        "(ORDER BY created_at, id) AS number FROM cases) AS counted WHERE counted.id = cases.id"
    )
    op.create_unique_constraint("cases_number_key", "cases", ["number"])


def _create_tables() -> None:
    op.create_table(
        "case_places",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("class_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kept_from", sa.Text(), nullable=False),
        sa.Column("uncertain", sa.Float(), nullable=False),
        sa.Column("disagreed", sa.Float(), nullable=False),
        sa.Column("random", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["cases.number"]),
        sa.PrimaryKeyConstraint("number", "class_id"),
    )
    op.create_table(
        "case_counts",
        sa.Column("class_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kept_from", sa.Text(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("class_id", "state", "model", "kept_from"),
    )
    op.create_table(
        "leases",
        _case_id(),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("tab", sa.String(length=64), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("case_id"),
    )
    op.create_index("ix_leases_expires_at", "leases", ["expires_at"])
    op.create_table(
        "drafts",
        sa.Column("id", sa.String(length=32), nullable=False),
        _case_id(),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("tab", sa.String(length=64), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("rev", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.String(length=32), nullable=False),
        sa.Column("recovered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("drafts_owner", "drafts", ["case_id", "reviewer"])
    op.create_table(
        "skips",
        _case_id(),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "reviewer"),
    )
    op.create_table(
        "submissions",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        _case_id(),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "blind_reviews",
        _case_id(),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("boxes", sa.JSON(), nullable=False),
        sa.Column("active_seconds", sa.Float(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "reviewer"),
    )


def _case_id() -> sa.Column[Any]:
    return sa.Column("case_id", sa.String(length=32), sa.ForeignKey("cases.id"), nullable=False)


def _fill() -> None:
    """What the new columns say of the cases that are there, and their places in the queue."""
    connection = op.get_bind()
    places = sa.table("case_places", *(sa.column(name) for name in _PLACE))
    change = (
        sa.update(_cases)
        .where(_cases.c.id == sa.bindparam("case_id"))
        .values({name: sa.bindparam(f"new_{name}") for name in _FILLED})
    )
    counts: Counter[tuple[Any, ...]] = Counter()
    for batch in _stored_cases(connection):
        connection.execute(
            change,
            [
                {"case_id": row["id"], **{f"new_{name}": row[name] for name in _FILLED}}
                for row in batch
            ],
        )
        rows = [place for row in batch for place in _places(row)]
        connection.execute(sa.insert(places), rows)
        counts.update(tuple(row[name] for name in _COUNTED) for row in rows)
    if counts:
        table = sa.table("case_counts", *(sa.column(name) for name in (*_COUNTED, "cases")))
        totals = [
            {**dict(zip(_COUNTED, kind, strict=True)), "cases": n} for kind, n in counts.items()
        ]
        connection.execute(sa.insert(table), totals)


_FILLED = ("model", "classes", "disagreement", "shuffle", "first_reviewer")
_COUNTED = ("class_id", "state", "model", "kept_from")
_PLACE = ("number", "case_id", *_COUNTED, "uncertain", "disagreed", "random")


def _stored_cases(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    """Batches of cases, oldest first, with what `_FILLED` names."""
    query = sa.text(
        "SELECT cases.id, cases.number, cases.state, cases.priority, predictions.model, "
        "predictions.detections, corrections.reviewer, corrections.boxes, corrections.agreement "
        "FROM cases JOIN predictions ON predictions.id = cases.prediction_id "
        "LEFT JOIN corrections ON corrections.case_id = cases.id "
        "WHERE cases.number > :after ORDER BY cases.number LIMIT :most"
    ).columns(model=sa.JSON(), detections=sa.JSON(), boxes=sa.JSON(), agreement=sa.JSON())
    draw = random.SystemRandom().random
    after = 0
    while True:
        rows = connection.execute(query, {"after": after, "most": _BATCH}).mappings().all()
        if not rows:
            return
        after = rows[-1]["number"]
        yield [
            {
                "id": row["id"],
                "number": row["number"],
                "state": row["state"],
                "priority": row["priority"],
                "model": f"{row['model']['name']}:{row['model']['version']}",
                "classes": sorted(
                    {each["class_id"] for each in (*row["detections"], *(row["boxes"] or ()))}
                ),
                "disagreement": _disagreement(row["agreement"]),
                "shuffle": draw(),
                "first_reviewer": row["reviewer"],
            }
            for row in rows
        ]


def _disagreement(agreement: Mapping[str, Any] | None) -> float:
    """As `loop.agreement.Agreement.disagreement` is on the day of this migration."""
    if agreement is None:
        return 0.0
    if "not_computable" in agreement["reasons"]:
        return 1.0
    either = sum(len(agreement[name]) for name in ("matches", "missed", "false_positives"))
    other_class = {(pair["left"], pair["right"]) for pair in agreement["class_differences"]}
    agreed = sum(
        max(pair["ciou"], 0.0)
        for pair in agreement["matches"]
        if (pair["left"], pair["right"]) not in other_class
    )
    return min(max(1.0 - agreed / either, 0.0), 1.0) if either else 0.0


def _places(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept_from = row["first_reviewer"] if row["state"] == "second" else None
    shared = {
        "number": row["number"],
        "case_id": row["id"],
        "state": row["state"],
        "model": row["model"],
        "kept_from": kept_from or "",
        "uncertain": -row["priority"],
        "disagreed": -row["disagreement"],
        "random": row["shuffle"],
    }
    return [{**shared, "class_id": class_id} for class_id in (-1, *row["classes"])]


def _create_guards() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _NEVER_CHANGED:
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN "
                    f"SELECT RAISE(ABORT, '{table} are never changed'); END"
                )
        for table in _NEVER_ONES_OWN:
            op.execute(
                f"CREATE TRIGGER {table}_not_own BEFORE INSERT ON {table} "  # noqa: S608
                "WHEN EXISTS (SELECT 1 FROM corrections WHERE case_id = NEW.case_id "
                "AND reviewer = NEW.reviewer) BEGIN "
                "SELECT RAISE(ABORT, 'nobody takes a second look at their own case'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE integrity_constraint_violation USING MESSAGE = "
        "TG_TABLE_NAME || ' are never changed'; END $$"
    )
    op.execute(
        "CREATE FUNCTION refuse_own_case() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF EXISTS (SELECT 1 FROM corrections WHERE case_id = NEW.case_id "
        "AND reviewer = NEW.reviewer) THEN RAISE integrity_constraint_violation USING MESSAGE = "
        "'nobody takes a second look at their own case'; END IF; RETURN NEW; END $$"
    )
    for table in _NEVER_CHANGED:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    for table in _NEVER_ONES_OWN:
        op.execute(
            f"CREATE TRIGGER {table}_not_own BEFORE INSERT ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_own_case()"
        )


def _drop_guards() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _NEVER_CHANGED:
            op.execute(f"DROP TRIGGER {table}_no_update")
            op.execute(f"DROP TRIGGER {table}_no_delete")
        for table in _NEVER_ONES_OWN:
            op.execute(f"DROP TRIGGER {table}_not_own")
        return
    for table in _NEVER_CHANGED:
        op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
    for table in _NEVER_ONES_OWN:
        op.execute(f"DROP TRIGGER {table}_not_own ON {table}")
    op.execute("DROP FUNCTION refuse_change()")
    op.execute("DROP FUNCTION refuse_own_case()")

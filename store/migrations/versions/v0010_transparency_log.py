"""A transparency log in files in place of the hash chain: what was in the chain goes into it first.

What the chain held waits in the outbox again, before what waited there already, and becomes the
first entries of the new log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# SHA-256 of nothing: loop.merkle.EMPTY_ROOT.
_EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_BATCH = 1000


def upgrade() -> None:
    _back_into_the_outbox()
    _create()


def _back_into_the_outbox() -> None:
    connection = op.get_bind()
    outbox = sa.table("audit_outbox", sa.column("id"), sa.column("event"))
    log = sa.table("audit_log", sa.column("index"), sa.column("event"))
    waiting = connection.scalars(sa.select(outbox.c.event).order_by(outbox.c.id)).all()
    connection.execute(sa.delete(outbox))
    first = 0
    while True:
        query = sa.select(log.c.index, log.c.event).where(log.c.index >= first)
        rows = connection.execute(query.order_by(log.c.index).limit(_BATCH)).all()
        _put(connection, outbox, [row[1] for row in rows])
        if len(rows) < _BATCH:
            break
        first = rows[-1][0] + 1
    _put(connection, outbox, waiting)
    op.drop_table("audit_head")
    op.drop_table("audit_log")


def _put(connection: sa.Connection, outbox: sa.TableClause, events: Sequence[str]) -> None:
    if events:
        connection.execute(sa.insert(outbox), [{"event": event} for event in events])


def _create() -> None:
    op.create_table(
        "audit_log",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    for column in ("event_id", "type", "at", "actor"):
        op.create_index(op.f(f"ix_audit_log_{column}"), "audit_log", [column], unique=False)
    op.create_table(
        "audit_references",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", "index"),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id"),
    )
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in ("id", "size", "root", "key", "failure")
    ]
    op.bulk_insert(
        sa.table("audit_head", *columns),
        [{"id": 1, "size": 0, "root": _EMPTY_ROOT, "key": "", "failure": ""}],
    )


def downgrade() -> None:
    _back_into_the_outbox()
    op.drop_table("audit_references")
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit_log",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("previous_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("id", "size", "sha256")]
    op.bulk_insert(sa.table("audit_head", *columns), [{"id": 1, "size": 0, "sha256": "0" * 64}])

"""Answers about an image that is being erased may be deleted, and still no others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BY_IMAGE = ("corrections", "annotations")
_BY_CASE = ("blind_reviews", "second_reviews")


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("image_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for table in (*_BY_IMAGE, *_BY_CASE):
            op.execute(f"DROP TRIGGER {table}_no_delete")
            _refuse(table, f"WHEN NOT EXISTS ({_allowed(table)}) ")
        return
    for table in (*_BY_IMAGE, *_BY_CASE):
        op.execute(
            f"CREATE FUNCTION refuse_{table}_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NOT EXISTS ({_allowed(table)}) THEN "
            "RAISE integrity_constraint_violation USING MESSAGE = "
            "TG_TABLE_NAME || ' are never changed'; END IF; RETURN OLD; END $$"
        )
        op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION refuse_{table}_delete()"
        )


def downgrade() -> None:
    for table in (*_BY_IMAGE, *_BY_CASE):
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"DROP TRIGGER {table}_no_delete")
            _refuse(table, "")
            continue
        op.execute(f"DROP TRIGGER {table}_no_delete ON {table}")
        op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
        op.execute(f"DROP FUNCTION refuse_{table}_delete()")
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    op.drop_table("erasures")


def _allowed(table: str) -> str:
    if table in _BY_IMAGE:
        return "SELECT 1 FROM erasures WHERE image_id = OLD.image_id"
    return (
        "SELECT 1 FROM erasures JOIN cases ON cases.image_id = erasures.image_id "
        "WHERE cases.id = OLD.case_id"
    )


def _refuse(table: str, when: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {when}BEGIN "
        f"SELECT RAISE(ABORT, '{table} are never changed'); END"
    )

"""What promoted models changed, and indexes for figures about the work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ANSWERS = ("corrections", "second_reviews")
_BY_TIME = ["created_at", "active_seconds"]


def upgrade() -> None:
    op.create_table(
        "impact",
        sa.Column("promotion_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["promotion_id"],
            ["promotions.id"],
        ),
        sa.PrimaryKeyConstraint("promotion_id"),
    )
    for table in _ANSWERS:
        op.create_index(f"{table}_by_time", table, _BY_TIME, unique=False)
        op.create_index(f"{table}_by_reviewer", table, ["reviewer", *_BY_TIME], unique=False)
    op.create_index("annotations_by_time", "annotations", ["created_at"], unique=False)
    op.create_index("annotations_by_source", "annotations", ["source"], unique=False)


def downgrade() -> None:
    op.drop_index("annotations_by_source", table_name="annotations")
    op.drop_index("annotations_by_time", table_name="annotations")
    for table in _ANSWERS:
        op.drop_index(f"{table}_by_reviewer", table_name=table)
        op.drop_index(f"{table}_by_time", table_name=table)
    op.drop_table("impact")

"""Salts of images, what the log has commitments to, and the settings it was told of last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_salts",
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("image_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sealed_texts",
        sa.Column("event_id", sa.String(length=32), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "settings_in_force",
        sa.Column("scope", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_index("ix_sealed_texts_image_id", "sealed_texts", ["image_id"])


def downgrade() -> None:
    op.drop_table("settings_in_force")
    op.drop_index("ix_sealed_texts_image_id", table_name="sealed_texts")
    op.drop_table("sealed_texts")
    op.drop_table("image_salts")

"""A perceptual hash of each image; images from before get theirs with the next snapshot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("phash", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("images", "phash")

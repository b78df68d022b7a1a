"""Indexes by which entries of the log of one type, or of a time, are found in the log's order."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COLUMNS = ("type", "at")


def upgrade() -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_audit_log_{column}", "audit_log")
        op.create_index(f"ix_audit_log_{column}_index", "audit_log", [column, "index"])


def downgrade() -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_audit_log_{column}_index", "audit_log")
        op.create_index(f"ix_audit_log_{column}", "audit_log", [column])

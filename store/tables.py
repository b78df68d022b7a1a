"""The tables. Answers are immutable documents and so kept whole, as JSON; what is searched for or
kept unique has columns. Time stamps are RFC 3339 in UTC, as text that sorts."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    desc,
)

# SQLite counts up only in INTEGER primary keys.
_Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

images = Table(
    "images",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("media_type", String(64), nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("gold", Boolean, nullable=False, default=False, index=True),
)

classes = Table(
    "classes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),
    Column("model", JSON, nullable=False),
    Column("detections", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("request_id", Text, nullable=False),
)

cases = Table(
    "cases",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("priority", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
)
Index("cases_queue", cases.c.state, desc(cases.c.priority), cases.c.created_at, cases.c.id)

corrections = Table(
    "corrections",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, unique=True),
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),
    Column("reviewer", Text, nullable=False),
    Column("boxes", JSON, nullable=False),
    Column("rejected", JSON, nullable=False),
    Column("no_finding", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("active_seconds", Float, nullable=False),
    Column("agreement", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
)

second_reviews = Table(
    "second_reviews",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, unique=True),
    Column("reviewer", Text, nullable=False),
    Column("blind", JSON, nullable=False),
    Column("final", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("active_seconds", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
)

annotations = Table(
    "annotations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("case_id", ForeignKey("cases.id"), nullable=True),
    Column("source", String(16), nullable=False),
    Column("boxes", JSON, nullable=False),
    Column("reviewers", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("image_id", "version"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("manifest", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("created_by", Text, nullable=False),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("document", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
)
Index("promotions_model", promotions.c.model_name, promotions.c.model_version)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("event", Text, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

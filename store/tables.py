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
    LargeBinary,
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
    # Null: nobody has computed it. Empty: there is nothing in the image to compare.
    Column("phash", String(16), nullable=True),
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
    Column("prediction_id", ForeignKey("predictions.id"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("priority", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("disagreement", Float, nullable=False),
    Column("shuffle", Float, nullable=False),
    Column("first_reviewer", Text, nullable=True),
    Column("reopens", ForeignKey("cases.id"), nullable=True),
    # Counts up in the order in which cases came: a short key for what `id` names at length.
    Column("number", BigInteger, nullable=False, unique=True),
)
Index("cases_queue", cases.c.state, desc(cases.c.priority), cases.c.created_at, cases.c.id)

# Where each case stands in each order, once for the case itself (class -1) and once for each of its
# classes. It says nothing that `cases` does not: it is there for its indexes, by which the next
# case of any order and filter is found without going past those that do not count. ``kept_from``
# is who may not have the case (the first reviewer, while it waits for the second), else empty:
# the queue is read for each such person, and then merged.
case_places = Table(
    "case_places",
    metadata,
    Column("number", ForeignKey("cases.number"), primary_key=True, autoincrement=False),
    Column("class_id", Integer, primary_key=True, autoincrement=False),
    Column("case_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("model", Text, nullable=False),
    Column("kept_from", Text, nullable=False),
    Column("uncertain", Float, nullable=False),
    Column("disagreed", Float, nullable=False),
    Column("random", Float, nullable=False),
)
for _order in ("uncertain", "disagreed", "random", "oldest"):
    _places = case_places.c
    _key = [] if _order == "oldest" else [_places[_order]]
    _end = [_places.kept_from, *_key, _places.number]
    Index(f"case_places_{_order}", _places.class_id, _places.state, *_end)
    Index(f"case_places_model_{_order}", _places.model, _places.class_id, _places.state, *_end)

# How many rows of `case_places` there are of each kind.
case_counts = Table(
    "case_counts",
    metadata,
    Column("class_id", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("kept_from", Text, primary_key=True),
    Column("cases", Integer, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("tab", String(64), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", String(32), nullable=False, index=True),
)

drafts = Table(
    "drafts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("tab", String(64), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("document", JSON, nullable=False),
    Column("saved_at", String(32), nullable=False),
    Column("recovered", Boolean, nullable=False),
)
Index("drafts_owner", drafts.c.case_id, drafts.c.reviewer)

skips = Table(
    "skips",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("reviewer", Text, nullable=False),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("created_at", String(32), nullable=False),
)

# Answers are never changed: triggers (store/migrations/versions/v0002_desk.py) refuse it for
# `corrections`, `blind_reviews`, `second_reviews` and `annotations`, and refuse a second review
# of one's own case.
blind_reviews = Table(
    "blind_reviews",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("boxes", JSON, nullable=False),
    Column("active_seconds", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
)

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
    Column("dropped", JSON(none_as_null=True), nullable=True),  # null: from before it was asked
)

annotations = Table(
    "annotations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("case_id", ForeignKey("cases.id"), nullable=True, index=True),
    Column("source", String(16), nullable=False),
    Column("boxes", JSON, nullable=False),
    Column("reviewers", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("image_id", "version"),
)

# The images that a transaction is erasing: triggers let answers about them go, and no others.
erasures = Table("erasures", metadata, Column("image_id", String(64), primary_key=True))

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

# `counts` and `closed` are working state: what replicas have counted, and whether MLflow has all of
# it.
trials = Table(
    "trials",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("document", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# One row: all replicas follow the same order.
serving_orders = Table(
    "serving_orders",
    metadata,
    Column("service", String(32), primary_key=True),
    Column("document", JSON, nullable=False),
)

impact = Table(
    "impact",
    metadata,
    Column("promotion_id", ForeignKey("promotions.id"), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("measured_at", String(32), nullable=False),
)

# For `store.repositories.statistics`, whose figures they hold: everybody's, and one person's.
for _answers in (corrections, second_reviews):
    _by_time = (_answers.c.created_at, _answers.c.active_seconds)
    Index(f"{_answers.name}_by_time", *_by_time)
    Index(f"{_answers.name}_by_reviewer", _answers.c.reviewer, *_by_time)
Index("annotations_by_time", annotations.c.created_at)
Index("annotations_by_source", annotations.c.source)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("login", Text, nullable=False),
    # loop.accounts.login_key: the same for logins that people take for the same.
    Column("login_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("pseudonym", String(32), nullable=False, unique=True),
    Column("roles", JSON, nullable=False),
    Column("password_hash", Text, nullable=True),
    # Both null where no OpenID Connect provider signs this person in.
    Column("issuer", Text, nullable=True),
    Column("subject", Text, nullable=True),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("signed_in_at", String(32), nullable=True),
    UniqueConstraint("issuer", "subject"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("method", String(16), nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("seen_at", String(32), nullable=False),
    Column("ends_at", String(32), nullable=False),
)

invitations = Table(
    "invitations",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    # Null: the link makes the first account.
    Column("account_id", ForeignKey("accounts.id"), nullable=True, index=True),
    Column("created_by", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("used_at", String(32), nullable=True),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("login_digest", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("failed_at", String(32), nullable=False),
    Column("locked_until", String(32), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("label", Text, nullable=False),
    # Null: it is a service's own.
    Column("account_id", ForeignKey("accounts.id"), nullable=True, index=True),
    Column("role", String(16), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("per_minute", Integer, nullable=True),
    Column("created_by", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=True),
    Column("revoked_at", String(32), nullable=True),
    Column("last_used_at", String(32), nullable=True),
)

settings_in_force = Table(
    "settings_in_force",
    metadata,
    Column("scope", String(32), primary_key=True),
    Column("document", JSON, nullable=False),
)

# Random, a row for each image, or data set, of which the log has commitments. Without its row, what
# the log says of an image is unlinkable: no foreign key keeps one, and no image goes with it.
image_salts = Table(
    "image_salts",
    metadata,
    Column("image_id", String(64), primary_key=True),
    Column("salt", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,  # a page less to write for each image
)

sealed_texts = Table(
    "sealed_texts",
    metadata,
    Column("event_id", String(32), primary_key=True),
    Column("image_id", String(64), nullable=False, index=True),
    Column("text", Text, nullable=False),
)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("event", Text, nullable=False),
)

# What stands in the log's files, for looking things up; the files are what counts.
audit_log = Table(
    "audit_log",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
    Column("event_id", Text, nullable=False, index=True),
    Column("type", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("actor", Text, nullable=False, index=True),
    Index("ix_audit_log_type_index", "type", "index"),
    Index("ix_audit_log_at_index", "at", "index"),
)

# Which entries are about what: `loop.event_references`.
audit_references = Table(
    "audit_references",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("value", Text, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("root", String(64), nullable=False),
    # The log's public key; empty before the first entry.
    Column("key", Text, nullable=False),
    # Why the log cannot be written; empty if it can.
    Column("failure", Text, nullable=False),
)

# By what keys are recognised that all processes must share.
key_fingerprints = Table(
    "key_fingerprints",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
)

"""Alembic's environment and versions; run by ``store.database.migrate``."""

"""The repositories of ``loop.ports`` on SQLAlchemy: rows in, domain values out."""

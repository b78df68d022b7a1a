"""What all tests have in common: a type of event that is not published."""

from __future__ import annotations

from loop.event_types import add_type

add_type("test.happened", {"type": "object"})

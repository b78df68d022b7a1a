"""What all tests have in common: a type of event that is not published, and no deadlines."""

from __future__ import annotations

from hypothesis import settings

from loop.event_types import add_type

add_type("test.happened", {"type": "object"})
# A slow example on a busy machine is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

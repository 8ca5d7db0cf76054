"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A deadline would time the machine, not the code.
settings.register_profile("mitosam", deadline=None)
settings.load_profile("mitosam")

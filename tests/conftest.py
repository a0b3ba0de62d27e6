"""What holds for all tests."""

from hypothesis import settings

# The first example may compile what it calls (numba), which no deadline foresees.
settings.register_profile("evenkeel", deadline=None)
settings.load_profile("evenkeel")

"""What holds for all tests."""

import signal

from hypothesis import settings

# The first example may compile what it calls (numba), which no deadline foresees.
settings.register_profile("evenkeel", deadline=None)
settings.load_profile("evenkeel")

# What a shell runs in the background ignores Ctrl-C, and so would all that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

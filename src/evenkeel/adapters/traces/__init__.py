"""Readers of recorded demand: the public traces, in the layouts they are found in."""

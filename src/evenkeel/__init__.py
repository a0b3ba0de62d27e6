"""Evenkeel keeps virtual machines on an even keel: measure, score, act, verify."""

__version__ = "0.1.0"

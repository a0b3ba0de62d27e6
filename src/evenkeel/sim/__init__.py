"""An in-memory world behind the same ports."""

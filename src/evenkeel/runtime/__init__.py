"""The one loop and the executor."""

"""Benchmarks: each prints the common result envelope."""

"""The host daemon: observe, score, act, verify, report."""

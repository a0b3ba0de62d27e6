"""Who will hurt whom: capacity physics and the contention map. Pure."""

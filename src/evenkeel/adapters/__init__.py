"""The outside world behind the ports. Adapters translate; they never decide."""

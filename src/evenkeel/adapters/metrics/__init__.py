"""Prometheus exposition of what the agent saw last; `server.MetricsServer` is the way in."""

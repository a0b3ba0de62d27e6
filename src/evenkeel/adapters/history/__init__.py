"""Telemetry history and forecasts in Parquet files that others can read."""

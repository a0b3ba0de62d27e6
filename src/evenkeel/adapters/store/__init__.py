"""The relational store (SQLite or PostgreSQL)."""

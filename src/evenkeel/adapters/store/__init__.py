"""The controller's database on SQLite or PostgreSQL, and its migrations."""

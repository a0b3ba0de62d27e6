"""The dashboard, rendered on the server."""

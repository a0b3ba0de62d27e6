"""The model registry in files."""

"""The dashboard, rendered on the server: `build_web` gives wiring a router to mount."""

from evenkeel.web.router import build_web

__all__ = ["build_web"]

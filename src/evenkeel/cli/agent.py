"""`evenkeel agent`: becomes the agent's own process, which must stay small."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def agent(
    config: Annotated[
        Path | None, typer.Option(help="TOML file [default: /etc/evenkeel/evenkeel.toml].")
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Undo every mitigation left on this host, and exit.")
    ] = False,
) -> None:
    """Run the agent of this libvirt host: observe, score, and act as far as the mode allows.

    Example: EVENKEEL_AGENT__CONTROLLER_URL=http://10.0.0.1:8470 evenkeel agent
    """
    argv = [sys.executable, "-m", "evenkeel.agentd"]
    argv += ["--config", str(config)] if config else []
    argv += ["--restore"] if restore else []
    os.execv(sys.executable, argv)  # noqa: S606  nothing of this process is needed any more

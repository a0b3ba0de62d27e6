"""`evenkeel controller`: the central service, in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evenkeel import config as configuration
from evenkeel.cli.output import friendly_errors, out
from evenkeel.config import ControllerConfig
from evenkeel.domain.errors import ConfigInvalid
from evenkeel.runtime.interpreter import settle

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_S = 5


@friendly_errors
def controller(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file; see `evenkeel config`.")
    ] = None,
) -> None:
    """Run the controller: takes agents' batches, serves the API and the page."""
    from evenkeel.wiring.controller import build_controller, dashboard

    settings = configuration.load(config)
    _configure_logs(settings.controller.log_level)
    with _listening_socket(settings.controller.listen) as listener:
        app = build_controller(settings, dashboard, config)
        _say_where(settings.controller, listener)
        _serve(app, settings.controller, listener)


def _listening_socket(listen: str) -> socket.socket:
    """Bind before anything else is touched. Raises ConfigInvalid."""
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigInvalid(f"controller.listen {listen!r} is not HOST:PORT")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, int(port)), family=family, backlog=1024)
        # Connections inherit it; asyncio does not set it on a socket made by create_server, and
        # without it every answer waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ConfigInvalid(
            f"cannot listen on {listen}: {error.strerror or error}", hint="Set controller.listen."
        ) from error


def _say_where(settings: ControllerConfig, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_cert_file else "http"
    token_file = Path(settings.state_dir) / "admin.token"
    out.print(f"Evenkeel controller: {scheme}://{shown}:{port}/", highlight=False, soft_wrap=True)
    out.print(f"Admin token in {token_file}", highlight=False, soft_wrap=True, markup=False)


def _serve(app: FastAPI, settings: ControllerConfig, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=settings.tls_cert_file or None,
            ssl_keyfile=settings.tls_key_file or None,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    settle()
    # uvicorn raises the signal again after a clean stop; these make that stop the end of it.
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGINT, _ignore)
    try:
        server.run(sockets=[listener])
    except OSError as error:
        raise ConfigInvalid(f"TLS files cannot be used: {error}") from error


def _ignore(_signal: int, _frame: object) -> None: ...


def _configure_logs(level: str) -> None:
    """One JSON object per line on stderr."""
    import structlog

    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigInvalid(f"controller.log_level {level!r} is not debug, info, warning or error")
    logging.basicConfig(level=max(number, logging.WARNING), format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )

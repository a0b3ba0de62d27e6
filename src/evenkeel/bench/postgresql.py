"""A PostgreSQL of one's own: the machine's binaries, a temporary directory, a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evenkeel.domain.errors import ConfigInvalid

_HINT = "On Debian: apt install postgresql. Or name a database: --database postgresql+psycopg://..."


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def url_of(port: int, database: str = "postgres") -> str:
    """For SQLAlchemy."""
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database}"


@contextmanager
def postgresql(durable: bool = True) -> Iterator[int]:
    """Its port, while it runs; with fsync, as it is installed, if `durable`.

    Raises ConfigInvalid.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise ConfigInvalid("PostgreSQL is not installed", hint=_HINT)
    directory = Path(tempfile.mkdtemp(prefix="evenkeel-bench-pg-"))
    as_postgres: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(directory, account.pw_uid, account.pw_gid)
        as_postgres = ["runuser", "-u", "postgres", "--"]
    data, port = directory / "data", free_port()

    def run(name: str, *args: str) -> None:
        command = [*as_postgres, str(found[-1].parent / name), *args]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigInvalid(f"{name} failed: {done.stderr.strip()[-300:]}", hint=_HINT)

    try:
        fast = () if durable else ("-N",)
        run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", *fast)
        options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1"
        options += "" if durable else " -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield port
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)

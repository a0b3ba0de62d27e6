"""`python -m evenkeel.agentd`: the agent without the weight of the command line (60 MB resident).

`evenkeel agent` becomes this process; systemd starts it directly.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

# One observation a tick needs no pool of BLAS threads, and each of them costs memory.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, as the controller logs."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def main(argv: list[str] | None = None) -> int:
    """Parse arguments and run. Exit codes as in EvenkeelError."""
    parser = argparse.ArgumentParser(prog="evenkeel agent", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file")
    parser.add_argument("--restore", action="store_true", help="undo all mitigations and exit")
    args = parser.parse_args(argv)

    from evenkeel.adapters.memory import be_modest

    be_modest()

    from evenkeel.config import load
    from evenkeel.domain.errors import EvenkeelError

    try:
        config = load(args.config).agent
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=config.log_level.upper(), handlers=[handler])
        from evenkeel.wiring.agent import restore_host, run_agent

        if args.restore:
            for line in restore_host(config):
                print(line)
            return 0
        run_agent(config)
    except EvenkeelError as error:
        print(f"error: {error.message} ({error.code})", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

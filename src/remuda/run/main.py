"""Entry point of the ``remuda`` program: the CLI, and the doors to the installation's own processes.

``remuda server|agent|ha-node|admin`` are handed over before anything of the CLI is imported, and the other way round: the
CLI must start fast and a server needs no tables.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

PARTS = {"server": "server", "agent": "agent", "ha-node": "ha", "admin": "admin", "network-service": "network"}
"""Command -> module of this room; each has ``main(argv) -> exit code``."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run and exit."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in PARTS:
        part = importlib.import_module(f"remuda.run.{PARTS[words[0]]}")
        sys.exit(part.main(words[1:]))
    from remuda.cli.main import run  # a server has no use for it

    sys.exit(run(words))


if __name__ == "__main__":
    main()

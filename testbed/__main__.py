"""``python -m testbed``: the installation page's walk on one machine, with a timed report (``make ha-demo``)."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from pathlib import Path

from testbed import faults
from testbed.bed import Bed
from testbed.install import BEGINNING, IMAGES
from testbed.quiet import load_line
from testbed.walk import Walk, save_logs


def main(arguments: list[str] | None = None) -> int:
    """All steps, a report, exit status 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one of each kind of fault instead of all on each node")
    parser.add_argument("--no-faults", action="store_true", help="stop after the stack is deployed")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="where to keep all logs when a step failed")
    parser.add_argument("--name", default="demo", help="name of the bed (default demo)")
    parser.add_argument("--net", default="10.77.3", help="network of the bed (default 10.77.3)")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    print(f"The walk on {socket.gethostname()}; {load_line()}", flush=True)
    with Bed(5, name=chosen.name, net=chosen.net, images=IMAGES) as bed:
        walk = Walk(bed)
        print(f"ok     {time.monotonic() - began:7.1f} s  bed: five Docker hosts", flush=True)
        steps = [*BEGINNING, *([] if chosen.no_faults else faults.steps(short=chosen.short))]
        passed = 0
        for title, do in steps:
            if walk.step(title, do):
                passed += 1
            elif len(walk.results) <= len(BEGINNING):
                break  # nothing further can work
        if passed < len(steps) and chosen.logs:
            save_logs(walk, chosen.logs)
            print(f"logs are in {chosen.logs}")
    failed = [result.title for result in walk.results if result.problem]
    print(f"\n{passed} of {len(steps)} steps passed in {time.monotonic() - began:.0f} s; {load_line()}")
    for title in failed:
        print(f"failed: {title}")
    return 0 if passed == len(steps) else 1


if __name__ == "__main__":
    sys.exit(main())

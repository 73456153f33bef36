"""What a host with 100 containers pays for Remuda at rest: the agent and the network service, memory and CPU."""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from testbed.bed import Bed, build_daemon, until
from testbed.platform import Platform, platform

from bench.figures import figure, heading

STACK = """\
version: '2'
services:
  many:
    image: local/busybox:1
    command: sleep 1000000
    stop_signal: SIGKILL
"""
PROGRAMS = {"agent": "remuda.run.agent", "network service": "remuda.run.network", "charon": "ipsec/charon"}


def processes(bed: Bed, host: int) -> dict[str, tuple[float, float]]:
    """(resident MB, CPU seconds so far, children that have ended included) of each of the host's programs."""
    script = """
for p in /proc/[0-9]*; do
  words=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null) || continue
  case $words in sh\\ *|bash\\ *|env\\ *) continue;; esac
  echo "$(awk '/^VmRSS/ {print $2}' $p/status 2>/dev/null) $(sed 's/.*) //' $p/stat 2>/dev/null | cut -d' ' -f12-15) $words"
done"""
    found = {}
    for line in bed.exec(host, "bash", "-c", script).splitlines():
        for name, word in PROGRAMS.items():
            figures = line.split()
            if word in line and figures[0].isdigit():
                found[name] = (int(figures[0]) / 1024, sum(map(int, figures[1:5])) / 100)
    return found


def measure(place: Platform, containers: int, seconds: int) -> None:
    """Fill the second host, let it come to rest, and look at the clock."""
    made = place.stack("bench", STACK, f"version: '2'\nservices:\n  many: {{scale: {containers}}}\n", wait=300)
    until("all run", lambda: len(place.containers(place.service(made, "many"))) == containers, 60)
    time.sleep(20)
    heading(f"agent: {containers} containers on one host, another host beside it, {seconds} s at rest")
    before = processes(place.bed, 1)
    time.sleep(seconds)
    after = processes(place.bed, 1)
    shares = {name: 100 * (after[name][1] - before[name][1]) / seconds for name in after}
    for name in after:
        figure(f"{name}: resident memory", after[name][0], "MB")
        figure(f"{name}: CPU", shares[name], "% of a core")
    ours = [name for name in after if name != "charon"]
    figure("agent and network service: memory", sum(after[name][0] for name in ours), "MB", 80)
    figure("all: CPU", sum(shares.values()), "% of a core", 1)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with build_daemon() as host:
        subprocess.run([str(Path(__file__).parents[1] / "testbed/mkbusybox"), host], check=True, capture_output=True)
        with Bed(2, name="bdover", net="10.77.22", images=("local/busybox:1",)) as bed, platform(bed) as place:
            place.wait_hosts()
            network = place.api.all("/v1/projects/1a5/hosts")
            other = next(h for h in network if h["hostname"] == "h2")
            place.api.action(other, "deactivate")
            measure(place, options.containers, options.seconds)


if __name__ == "__main__":
    main()

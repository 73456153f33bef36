"""Three scripts started at the same time -> the UI through the load balancer. Containers, databases and keys are all new."""

from __future__ import annotations

import argparse
import re

from testbed.install import cluster

from bench.figures import figure, heading, median, spread


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    ui, writes = [], []
    heading(f"startup: three times remuda-ha.sh on empty machines ({rounds} rounds)")
    for _ in range(rounds):
        with cluster(hosts=0, name="bench", net="10.77.2") as walk:
            found = re.findall(r"([0-9.]+) s", walk.results[-1].note)
        ui.append(float(found[0]))
        writes.append(float(found[1]))
    figure("scripts started -> UI through the load balancer", median(ui), "s", 60)
    figure("scripts started -> first write acknowledged", median(writes), "s")
    print(f"  all: UI {spread(ui)}; writes {spread(writes)}")


if __name__ == "__main__":
    main()

"""The leading node loses power -> the first acknowledged write through the load balancer.

Power-off cuts the network first, so nobody hears a goodbye: the load balancer, ZooKeeper and the servers must find out by
silence. A new write is tried every 20 ms by several writers, each with a time-out of one second, as clients would.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time

from testbed.client import Writer
from testbed.faults import leader
from testbed.install import cluster, wait_whole
from testbed.walk import Walk

from bench.figures import figure, heading, median, spread

WRITERS = 3


def one(walk: Walk, number: int) -> tuple[float, float]:
    """A round: seconds to the first write that began after the power-off and was acknowledged; the longest pause."""
    node = leader(walk)
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(Writer(walk.api, f"r{number}-{i}", pause=0.02, timeout=1.0)) for i in range(WRITERS)
        ]
        for writer in writers:
            writer.resumed(0, 30)
        began = time.monotonic()
        walk.bed.kill(node)
        first = min(writer.resumed(began, 60) for writer in writers) - began
        time.sleep(max(0.0, began + 8 - time.monotonic()))
        acknowledged = sorted(a.ended for w in writers for a in w.attempts if a.acknowledged and a.ended > began)
        marks = [began, *acknowledged]
        pause = max(later - earlier for earlier, later in itertools.pairwise(marks))
    walk.bed.boot(node)
    wait_whole(walk, 90)
    return first, pause


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with cluster(hosts=0, name="bench", net="10.77.2") as walk:
        heading(f"failover: the leading node powered off, {rounds} rounds")
        firsts, pauses = [], []
        for number in range(rounds):
            first, pause = one(walk, number)
            firsts.append(first)
            pauses.append(pause)
            print(f"  round {number + 1}: first write {first:.2f} s, longest pause {pause:.2f} s", flush=True)
    figure("power-off -> first acknowledged write, median", median(firsts), "s", 1.5)
    figure("power-off -> first acknowledged write, worst", max(firsts), "s", 5)
    figure("longest pause without an acknowledged write, median", median(pauses), "s")
    figure("longest pause without an acknowledged write, worst", max(pauses), "s")
    print(f"  all first writes: {spread(sorted(firsts))}\n  all pauses: {spread(sorted(pauses))}")


if __name__ == "__main__":
    main()

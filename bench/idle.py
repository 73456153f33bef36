"""What Remuda costs when nothing happens: a server with one host and one running container, and that host's agent."""

from __future__ import annotations

import argparse
import time

from testbed.bed import Bed, until
from testbed.install import COMPOSE, alone, user_containers
from testbed.outside import query
from testbed.walk import PROJECT

from bench.figures import figure, heading, process

WRITES = (
    "Com_insert",
    "Com_update",
    "Com_delete",
    "Com_replace",
    "Com_insert_select",
    "Com_update_multi",
    "Com_delete_multi",
)


def writes(bed: Bed) -> int:
    """Statements that the database has counted as writes."""
    rows = query(bed, "SHOW GLOBAL STATUS WHERE Variable_name IN (" + ",".join(f"'{name}'" for name in WRITES) + ")")
    return sum(int(value) for _, value in rows)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with alone(hosts=1, name="bench", net="10.77.2") as walk:
        bed, host = walk.bed, walk.hosts[0]
        walk.api.post(f"{PROJECT}/environments", {"name": "shop", "dockerCompose": COMPOSE, "startOnCreate": True})
        until("the container runs", lambda: len(user_containers(walk)) == 1, 60)
        time.sleep(15)
        heading(f"idle: server and agent, {seconds} s")
        before = {"server": process(bed, 1, "remuda"), "agent": process(bed, host, "remuda-agent")}
        counted = writes(bed)
        time.sleep(seconds)
        counted = writes(bed) - counted
        after = {"server": process(bed, 1, "remuda"), "agent": process(bed, host, "remuda-agent")}
    for who, memory, share in (("server", 150, 1.0), ("agent", 60, 0.5)):
        figure(f"{who}: resident memory", after[who]["memory"], "MB", memory)
        figure(f"{who}: CPU", 100 * (after[who]["cpu"] - before[who]["cpu"]) / seconds, "% of a core", share)
    figure("server: SQL writes", 60 * counted / seconds, "a minute", 0)


if __name__ == "__main__":
    main()

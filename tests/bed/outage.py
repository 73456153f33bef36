"""A small platform whose only server goes away for ten minutes while the other tests of the ring run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.bed import Bed, X, until
from testbed.platform import CLIENT_IMAGE, Platform, platform

SECONDS = 600
STACK = """\
version: '2'
services:
  web:
    image: local/client:1
    labels: {io.rancher.scheduler.global: 'true'}
  front:
    image: rancher/lb-service-haproxy
    ports: ['80:80']
"""
RULES = """\
version: '2'
services:
  web:
    health_check:
      {port: 80, request_line: GET / HTTP/1.0, interval: 2000, response_timeout: 2000, unhealthy_threshold: 3}
  front:
    lb_config:
      port_rules:
      - {source_port: 80, service: web}
"""
ASK = "while :; do curl -s -m 15 -o /dev/null -w '%{http_code}\\n' {url}; sleep 1; done"


class Outage:
    """``began``: when the server was killed, by a clock that never jumps."""

    def __init__(self, place: Platform) -> None:
        self.place, self.began = place, 0.0
        self.before: set[str] = set()
        self.logs: dict[str, Path] = {}

    def begin(self) -> None:
        """Kill the server, and ask without a pause from now on."""
        place = self.place
        self.before = self.containers()
        front = next(c for c in place.containers() if "front" in c["name"])
        door, own = place.bed.ip(place.host_of(front)), self.web(1)
        place.stop_server()
        self.began = time.monotonic()
        self.logs["by name"] = place.bed.spawn(
            1, "ask", "docker", "exec", own, "sh", "-c", ASK.replace("{url}", "http://web/")
        )
        self.logs["through the load balancer"] = place.bed.spawn(
            X, "ask", "sh", "-c", ASK.replace("{url}", f"http://{door}/")
        )

    def containers(self) -> set[str]:
        """Ids of the containers that run on all hosts, as engines know them."""
        mine = (self.place.bed.containers(host, **{"io.rancher.stack.name": "shop"}) for host in self.place.hosts)
        return {str(container["Id"]) for found in mine for container in found}

    def web(self, host: int) -> str:
        """The container of ``web`` on a host."""
        return str(self.place.bed.containers(host, **{"io.rancher.stack_service.name": "shop/web"})[0]["Id"])

    def failures(self) -> dict[str, list[str]]:
        """What was asked and not answered, by way."""
        return {way: [code for code in log.read_text().split() if code != "200"] for way, log in self.logs.items()}

    def asked(self) -> int:
        """The fewest questions of a way."""
        return min(len(log.read_text().split()) for log in self.logs.values())

    def wait(self) -> None:
        """Until ten minutes have passed since the server was killed."""
        time.sleep(max(0.0, self.began + SECONDS - time.monotonic()))


@contextmanager
def outage() -> Iterator[Outage]:
    """The platform with its stack; the server is still there."""
    images = ("local/busybox:1", CLIENT_IMAGE, "remuda/balancer:latest")
    with Bed(2, name="tout", net="10.77.13", images=images) as bed, platform(bed) as running:
        running.wait_hosts()
        running.stack("shop", STACK, RULES)
        until("all are healthy", lambda: all(c["healthState"] == "healthy" for c in running.containers()), 60)
        yield Outage(running)

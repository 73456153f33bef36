"""What a load balancer service costs and loses: requests through it and a bare haproxy by turns, while targets come and go."""

from __future__ import annotations

import argparse
import re
import subprocess
import threading
from functools import partial
from typing import Any

from testbed.bed import HERE, Bed, X, build_daemon, until
from testbed.platform import CLIENT_IMAGE, Platform, platform

from bench.figures import figure, heading, median, spread

STACK = """\
version: '2'
services:
  web: {image: 'local/client:1', stop_signal: SIGKILL}
  still: {image: 'local/client:1'}
  front:
    image: rancher/lb-service-haproxy
    ports: ['80:80', '82:82']
"""
RULES = """\
version: '2'
services:
  web: {scale: 4}
  still: {scale: 4}
  front:
    lb_config:
      port_rules:
      - {source_port: 80, service: web}
      - {source_port: 82, target_port: 80, service: still}
"""
BARE = """\
global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
listen bare
  bind :8081
"""
PARALLEL = 8
SCALES = (10, 4, 7, 3)
ROUND_SECONDS = 3


def load(place: Platform, url: str, seconds: float) -> tuple[int, int, float]:
    """(requests, those without a good answer, requests a second) of a native client on x, over connections that are kept."""
    said = place.bed.exec(
        X, "wrk", "-t", 1, "-c", PARALLEL, "-d", f"{seconds:.0f}s", "--timeout", "10s", url, timeout=300
    )
    wrong = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    total, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec: +([\d.]+)", said)
    if wrong or bad:
        print(f"  {url}: {' '.join(found[0] for found in (wrong, bad) if found)}")
    assert total is not None and rate is not None, said  # noqa: PT018
    return int(total[1]), sum(map(int, wrong.groups() if wrong else ())) + int(bad[1] if bad else 0), float(rate[1])


def churn(place: Platform, web: dict[str, Any], end: threading.Event) -> None:
    """Scale the targets up and down without a pause until the end."""
    number = 0
    while not end.is_set():
        wanted = SCALES[number % len(SCALES)]
        number += 1
        place.scale(web, wanted)
        until("they run", partial(_count, place, web, wanted), 60)


def _count(place: Platform, web: dict[str, Any], wanted: int) -> bool:
    return len(place.containers(web)) == wanted


def _answers(place: Platform, url: str) -> bool:
    return load(place, url, 1)[1] == 0


def measure(place: Platform, total: int) -> None:
    """By turns, under the same churn: scaled targets through the service, quiet ones through it and through a bare haproxy."""
    stack = place.stack("s", STACK, RULES)
    web, still = place.service(stack, "web"), place.service(stack, "still")
    front = place.containers(place.service(stack, "front"))[0]
    host = place.host_of(front)
    servers = "".join(f"  server s{n} {c['managedIp']}:80\n" for n, c in enumerate(place.containers(still)))
    path = place.bed.disk(host) / "bare.cfg"
    path.write_text(BARE + servers)
    place.bed.spawn(host, "bare", "haproxy", "-db", "-f", path)
    door = f"http://{place.bed.ip(host)}"
    ways = {"scaled": f"{door}:80/", "service": f"{door}:82/", "bare": f"{door}:8081/"}
    for url in ways.values():
        until(f"{url} answers", partial(_answers, place, url), 30)
    heading(f"load balancer: {total} requests to targets that are scaled without a pause, {PARALLEL} connections")
    end = threading.Event()
    worker = threading.Thread(target=churn, args=(place, web, end))
    worker.start()
    sent, failed, rates = 0, 0, dict[str, list[float]]({way: [] for way in ways})
    try:
        while sent < total:
            for way, url in ways.items():
                count, lost, rate = load(place, url, ROUND_SECONDS)
                failed += lost if way != "bare" else 0
                sent += count if way == "scaled" else 0
                rates[way].append(rate)
    finally:
        end.set()
        worker.join(90)
        place.bed.stop(host, "bare", "KILL")
    print(f"  {sent} requests to scaled targets in {len(rates['scaled'])} rounds")
    figure("requests without an answer of a target", failed, "", 0)
    for way, values in rates.items():
        print(f"  {way}: {spread(values)} requests/s")
    ratios = [100 * ours / bare for ours, bare in zip(rates["scaled"], rates["bare"], strict=True)]
    figure("scaled targets through the service / bare haproxy, median", median(ratios), "%", least=90)
    ratios = [100 * ours / bare for ours, bare in zip(rates["service"], rates["bare"], strict=True)]
    figure("the same quiet targets through both, median", median(ratios), "%", least=90)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    total = parser.parse_args().requests
    with build_daemon() as daemon:
        subprocess.run([str(HERE / "mkclient"), daemon], check=True, capture_output=True, timeout=120)
        images = ("local/busybox:1", CLIENT_IMAGE, "remuda/balancer:latest")
        with Bed(2, name="bbal", net="10.77.32", images=images) as bed, platform(bed) as place:
            place.wait_hosts()
            measure(place, total)


if __name__ == "__main__":
    main()

"""What Prometheus reads at ``/metrics``: numbers that the rooms keep anyway, collected when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from remuda.api.server import Api


class Numbers(Collector):
    """One server's state in numbers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus_client for each scrape."""
        plane, leases = self._api.plane, self._api.leases
        yield GaugeMetricFamily("remuda_quorum", "1 while the control plane may decide", int(leases.quorum))
        yield GaugeMetricFamily("remuda_servers", "Living servers of the cluster", len(leases.members()))
        yield GaugeMetricFamily("remuda_agents", "Agents connected to this server", len(plane.hub))
        yield GaugeMetricFamily("remuda_subscribers", "Subscribed clients", len(self._api.broadcaster))
        yield GaugeMetricFamily("remuda_change_seq", "Newest change delivered", plane.feed.seq)
        for name, text, counts in (
            ("remuda_controller_cycles", "Reconciliations done here", plane.loop.cycles),
            ("remuda_controller_failures", "Reconciliations that failed", plane.loop.failures),
        ):
            family = CounterMetricFamily(name, text, labels=["controller"])
            for controller, number in counts.items():
                family.add_metric([controller], number)
            yield family

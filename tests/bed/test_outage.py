"""The server is gone for ten minutes: begun by the first test of the ring, judged by the last; hosts must not notice."""

from __future__ import annotations

import pytest
from testbed.bed import until
from tests.bed.outage import SECONDS, Outage

pytestmark = [pytest.mark.bed, pytest.mark.timeout(SECONDS + 300)]


@pytest.mark.first
def test_the_server_goes_away(long_outage: Outage) -> None:
    until("questions are answered", lambda: long_outage.asked() > 3, 20)
    assert not any(long_outage.failures().values())


@pytest.mark.last
def test_ten_minutes_without_a_server_are_not_noticed(long_outage: Outage) -> None:
    long_outage.wait()
    place = long_outage.place
    assert long_outage.asked() > SECONDS / 4
    assert not any(long_outage.failures().values()), "names, overlay and load balancer went on"
    assert long_outage.containers() == long_outage.before

    place.stop_agent(2)
    place.start_agent(2)
    victim = long_outage.web(2)
    place.bed.docker(2, "kill", victim)
    until("what died runs again", lambda: long_outage.containers() == long_outage.before, 30)

    place.start_server()
    place.wait_hosts()

    def well() -> bool:
        shown = [c["healthState"] for c in place.containers()]
        return shown == ["healthy"] * len(long_outage.before)

    until("all run and are healthy again", well, 60)
    assert long_outage.containers() == long_outage.before, "its return makes nothing anew"

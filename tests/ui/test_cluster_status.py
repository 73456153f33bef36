"""T07, T08, T03 as far as one page can show them: what the status page makes of the nodes' reports.

The cluster itself is real in the bed's tests; here the two answers are made up, to have each state on the screen.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from tests.support.server import RemudaServer
from tests.ui.conftest import OpenPage, Watch

FINGERPRINT = "ab" * 32


def node(
    slot: int | None, *, live: bool = True, leader: bool = False, generation: int = 2, **parts: Any
) -> dict[str, Any]:
    well: dict[str, Any] = {
        name: {"state": "well", "message": ""} for name in ("server", "zookeeper", "redis", "ingress")
    }
    number = slot or 9
    return {
        "id": f"1cn{number}", "type": "clusterNode", "name": f"m{number}", "hostname": f"m{number}", "slot": slot,
        "address": f"10.0.0.{number}", "version": "0.1.0", "generation": generation, "live": live, "leader": leader,
        "fingerprint": FINGERPRINT if generation == 2 else "cd" * 32, "parts": {**well, **parts}, "state": "active",
    }  # fmt: skip


def config(*, quorum: bool = True, reason: str = "") -> dict[str, Any]:
    return {
        "id": "haconfig", "type": "haConfig", "enabled": True, "clusterSize": 3, "dbHost": "db", "actions": {}, "links": {},
        "database": {"ok": True, "checks": [{"id": "reachable", "ok": True, "message": "The database answers", "fix": ""}]},
        "generation": {"number": 2, "fingerprint": FINGERPRINT, "created": 1, "config": {"clusterSize": 3, "hostRegistrationUrl": "https://lb"}},
        "quorum": {"ok": quorum, "reason": reason, "servers": 3},
    }  # fmt: skip


class Answers:
    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.config = config()

    def attach(self, page: Page) -> None:
        def nodes(route: Route) -> None:
            route.fulfill(json={"type": "collection", "data": self.nodes})

        page.route("**/v1/clusternodes*", nodes)
        page.route(
            "**/v1/haconfigs/haconfig",
            lambda route: route.fulfill(body=json.dumps(self.config), content_type="application/json"),
        )


@pytest.fixture
def answers(server: RemudaServer, open_page: OpenPage) -> tuple[Answers, Page]:
    page = open_page(server)
    made = Answers()
    made.attach(page)
    return made, page


def test_each_state_of_the_cluster_is_one_sentence(answers: tuple[Answers, Page]) -> None:
    made, page = answers
    made.nodes = [node(1, leader=True), node(2), node(3)]
    page.get_by_test_id("nav-ha").click()
    banner = page.get_by_test_id("quorum")
    expect(banner).to_contain_text("Quorum: 3 of 3")
    expect(banner).to_contain_text("Any one node can fail")
    expect(page.get_by_test_id("node")).to_have_count(3)
    expect(page.locator("[data-testid=node][data-leader=true]")).to_have_count(1)

    made.nodes = [
        node(1, live=False),
        node(2, leader=True),
        node(3, zookeeper={"state": "waiting", "message": "Port 2888 of m1 is closed"}),
    ]
    expect(banner).to_contain_text("2 of 3")
    expect(banner).to_contain_text("No further node may fail")
    expect(page.locator("[data-testid=node][data-live=false]")).to_contain_text("does not answer")
    expect(page.get_by_text("Port 2888 of m1 is closed")).to_be_visible()

    made.config = config(quorum=False, reason="ZooKeeper has no majority: start m1 or m2.")
    made.nodes = [node(1, live=False), node(2, live=False), node(3)]
    expect(banner).to_contain_text("read-only")
    expect(banner).to_contain_text("start m1 or m2")

    made.config = config()
    made.nodes = [node(1, leader=True), node(2), node(3, generation=1), node(None)]
    expect(page.get_by_test_id("wrong-generation")).to_contain_text("runs 1, the cluster has 2")
    expect(page.get_by_text("Spare", exact=True)).to_be_visible()


def test_a_write_without_quorum_is_refused_with_the_reason_and_the_page_stays(
    server: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    watch.expect("503", "status of 503")
    page = open_page(server, "/admin/api-keys")
    reason = "No quorum: 1 of 3 ZooKeeper servers answers. Start another node."
    refusal = {"type": "error", "status": 503, "code": "NoQuorum", "message": reason, "detail": None, "fieldName": None}

    def refuse(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=503, json=refusal)
        else:
            route.continue_()

    page.route("**/apikeys*", refuse)
    page.get_by_test_id("create-key").click()
    page.get_by_test_id("key-name").fill("later")
    page.get_by_test_id("key-create").click()
    expect(page.get_by_test_id("dialog")).to_contain_text("1 of 3")
    expect(page.get_by_test_id("key-name")).to_have_value("later")
    expect(page.get_by_test_id("readonly")).to_contain_text("Start another node")
    page.unroute("**/apikeys*")
    page.get_by_test_id("key-create").click()
    expect(page.get_by_test_id("secret-key")).to_be_visible()
    expect(page.get_by_test_id("readonly")).to_have_count(0)

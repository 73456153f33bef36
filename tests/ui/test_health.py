"""The health of a container, as those who look at it say: its page follows what they see."""

from __future__ import annotations

from playwright.sync_api import expect
from testbed.bed import Bed
from tests.support.server import RemudaServer
from tests.ui.conftest import IMAGE, OpenPage, deploy, rows

CHECKED = f"""\
version: '2'
services:
  checked:
    image: {IMAGE}
    network_mode: bridge
    command: ['sh', '-c', 'touch /tmp/well; sleep 1000']
    stop_signal: SIGKILL
    health_check: {{command: [ls, /tmp/well], interval: 500, unhealthy_threshold: 2, healthy_threshold: 1, strategy: none}}
"""


def test_the_panel_says_who_saw_what_and_follows(docker_server: RemudaServer, bed: Bed, open_page: OpenPage) -> None:
    stack = deploy(docker_server, "health", CHECKED, running=1)
    container = next(row for row in rows(docker_server, "containers") if row["environmentId"] == stack["id"])
    host = rows(docker_server, "hosts")[0]
    page = open_page(docker_server, f"/containers/{container['id']}")
    panel = page.get_by_test_id("health")
    expect(panel.get_by_role("row").nth(1)).to_contain_text(str(host["name"] or host["hostname"]))
    expect(panel.locator("[data-state=passing]")).to_be_visible()

    bed.docker(1, "exec", container["externalId"], "rm", "/tmp/well")
    expect(panel.locator("[data-state=failing]")).to_be_visible()
    expect(panel).to_contain_text("/tmp/well")
    page.goto(f"/services/{container['serviceId']}?tab=health")
    expect(panel.locator("[data-state=failing]")).to_be_visible()
    expect(page.locator("h1 + .state")).to_have_text("Unhealthy")

"""T10: the add-host page watches the machine arrive, step by step, and says why when it does not."""

from __future__ import annotations

import shlex
import urllib.parse
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.support.server import FakeHost, RemudaServer
from tests.ui.conftest import OpenPage, agent


def step(page: Page, name: str) -> str:
    return f"[data-testid=step-{name}][data-done=true]"


def test_the_command_is_copied_with_labels_and_address_and_the_host_arrives(
    server: RemudaServer, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(server, "/hosts/add", permissions=["clipboard-read", "clipboard-write"])
    page.locator(step(page, "token")).wait_for()
    page.get_by_test_id("add-label").click()
    page.get_by_test_id("label-key").fill("disk")
    page.get_by_test_id("label-value").fill("it's fast")
    page.get_by_test_id("agent-ip").fill("192.0.2.7")
    page.get_by_test_id("command").click()
    expect(page.get_by_test_id("command")).to_have_text("Copied")
    shown = page.get_by_test_id("command-text").inner_text()
    assert page.evaluate("navigator.clipboard.readText()") == shown
    words = shlex.split(shown)
    given = dict(word.split("=", 1) for word in words if word.startswith("CATTLE_"))
    assert given["CATTLE_AGENT_IP"] == "192.0.2.7"
    assert urllib.parse.parse_qs(given["CATTLE_HOST_LABELS"]) == {"disk": ["it's fast"]}
    assert words[:3] == ["sudo", "docker", "run"]

    host = FakeHost("arrival", tmp_path, words[-1])
    try:
        host.start()
        page.locator(step(page, "agent")).wait_for()
        page.locator(step(page, "docker")).wait_for()
        page.locator(step(page, "active")).wait_for()
        page.get_by_test_id("open-host").click()
        expect(page.get_by_test_id("title")).to_have_text("arrival")
        page.get_by_test_id("do-deactivate").click()
        page.get_by_test_id("confirm-ok").click()
        expect(page.locator("[data-state=inactive]").first).to_be_visible()
        page.get_by_test_id("do-activate").click()
        expect(page.locator("[data-state=active]").first).to_be_visible()
        page.get_by_test_id("nav-hosts").click()
        expect(page.get_by_test_id("host-arrival")).to_contain_text("Active")
    finally:
        host.kill()


def test_a_machine_without_docker_is_told_apart_and_the_page_says_so(
    server: RemudaServer, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(server, "/hosts/add")
    page.locator(step(page, "token")).wait_for()
    url = shlex.split(page.get_by_test_id("command-text").inner_text())[-1]
    with agent(server, url, tmp_path, "--docker", f"unix://{tmp_path}/nothing.sock"):
        page.locator(step(page, "agent")).wait_for()
        expect(page.get_by_test_id("step-docker")).to_contain_text("Docker")
        expect(page.get_by_test_id("step-docker").locator(".bad").first).to_be_visible()
        page.get_by_test_id("nav-overview").click()
        expect(page.get_by_test_id("attention")).to_contain_text("Docker")

"""T11, T12: a compose file is judged while it is typed, deployed in three clicks, and changed with a look at the difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.support.server import RemudaServer, fake_host, until
from tests.ui.conftest import OpenPage, rows

GOOD = (
    'services:\n  web:\n    image: busybox\n    command: sleep 1000\n    ports:\n      - "18081:80"\n'
    "    volumes:\n      - data:/data\nvolumes:\n  data: {}\n"
)


@pytest.fixture(scope="module")
def hosted(server: RemudaServer) -> Iterator[RemudaServer]:
    with fake_host(server, "stackhost"):
        yield server


def write(page: Page, text: str, editor: str = "editor-docker") -> None:
    page.locator(f"[data-testid={editor}][data-ready=yes] .cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def test_a_stack_is_checked_while_it_is_typed_and_deployed(hosted: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(hosted)
    page.get_by_test_id("deploy-stack").click()  # the first click of three
    page.get_by_test_id("stack-name").fill("shop")
    write(page, "services:\n  web:\n    image: [busybox\n")
    expect(page.get_by_test_id("validation")).to_have_attribute("data-valid", "false")
    expect(page.get_by_test_id("problem")).to_contain_text("line")
    expect(page.locator(".cm-lint-marker-error")).to_be_visible()
    expect(page.get_by_test_id("deploy")).to_be_disabled()

    write(page, GOOD.replace("command:", "comand:"))
    expect(page.get_by_test_id("problems")).to_contain_text("comand")
    expect(page.get_by_test_id("problems")).to_contain_text("line 4")

    write(page, GOOD)
    expect(page.get_by_test_id("validation")).to_have_attribute("data-valid", "true")
    plan = page.get_by_test_id("plan")
    for part in ("web", "busybox", "18081", "data"):
        expect(plan).to_contain_text(part)
    page.get_by_test_id("deploy").click()
    page.wait_for_url("**/stacks/1e*")
    expect(page.get_by_test_id("title")).to_have_text("shop")
    expect(page.locator("h1 + [data-state=active]")).to_be_visible()
    expect(page.get_by_test_id("service-web").get_by_test_id("scale")).to_have_text("1")

    page.get_by_test_id("nav-stacks").click()
    page.get_by_test_id("deploy-stack").click()
    page.get_by_test_id("stack-name").fill("shop")
    write(page, GOOD)
    expect(page.get_by_test_id("port-conflict")).to_contain_text("18081")
    page.get_by_test_id("deploy").click()
    expect(page.get_by_test_id("error-summary")).to_contain_text("already a stack")
    expect(page.get_by_test_id("stack-name")).to_be_focused()


def test_a_service_is_scaled_changed_and_the_stack_removed(hosted: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(hosted, "/stacks/new")
    page.get_by_test_id("stack-name").fill("changing")
    write(page, "services:\n  app:\n    image: ${IMAGE:-busybox}\n    command: sleep 1000\n")
    page.get_by_test_id("answer-IMAGE").fill("busybox")
    page.get_by_test_id("deploy").click()
    page.wait_for_url("**/stacks/1e*")
    row = page.get_by_test_id("service-app")
    expect(row.locator("[data-state=active]")).to_be_visible()
    row.get_by_test_id("scale-up").click()
    row.get_by_test_id("scale-up").click()
    expect(row.get_by_test_id("scale")).to_have_text("3")
    page.get_by_test_id("tab-containers").click()
    expect(page.locator("[data-testid=containers] tbody tr")).to_have_count(3)

    page.get_by_test_id("tab-compose").click()
    write(page, "services:\n  app:\n    image: ${IMAGE:-busybox}\n    command: sleep 2000\n")
    expect(page.get_by_test_id("plan")).to_contain_text("changes")
    page.get_by_test_id("review").click()
    changed = page.locator("[data-testid=diff] .cm-changedLine")
    expect(changed).to_have_count(1)
    page.get_by_test_id("apply").click()
    expect(page.get_by_test_id("notice")).to_contain_text("changing")
    page.get_by_test_id("tab-containers").click()

    def changed_all() -> bool:
        mine = [row for row in rows(hosted, "containers") if str(row["name"]).startswith("changing_")]
        return len(mine) == 3 and all("2000" in row["command"] and row["state"] == "running" for row in mine)  # type: ignore[operator]

    until(changed_all, 60, "all containers have the new command")
    expect(page.locator("[data-testid=containers] tbody tr")).to_have_count(3)

    page.get_by_test_id("do-remove").click()
    expect(page.get_by_test_id("confirm-ok")).to_be_disabled()
    page.get_by_test_id("confirm-typed").fill("changing")
    page.get_by_test_id("confirm-ok").click()
    expect(page.get_by_text("It is not here any more").or_(page.get_by_test_id("deploy-stack"))).to_be_visible()


def test_what_cannot_be_placed_says_why_on_every_page(hosted: RemudaServer, open_page: OpenPage) -> None:
    compose = "services:\n  picky:\n    image: busybox\n    labels:\n      io.rancher.scheduler.affinity:host_label: disk=none\n"
    hosted.call("POST", "/v1/projects/1a5/environments", {"name": "picky", "dockerCompose": compose})
    page = open_page(hosted)
    entry = page.get_by_test_id("attention").get_by_role("link").filter(has_text="picky").first
    expect(entry).to_contain_text("disk")
    entry.click()
    expect(page.get_by_test_id("because")).to_contain_text("disk")

"""T15, T16, T17 on a real Docker engine: logs that follow and stay, a shell that resizes and tells its exit code, figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.support.server import RemudaServer, until
from tests.ui.conftest import IMAGE, OpenPage, deploy, rows

NOISY = (
    "i=0; while [ $$i -lt 5000 ]; do i=$$((i+1)); echo line $$i; done; echo oops >&2; "
    "while true; do i=$$((i+1)); echo line $$i; sleep 0.2; done"
)


@pytest.fixture(scope="module")
def noisy(docker_server: RemudaServer) -> dict[str, object]:
    compose = (
        f"services:\n  noisy:\n    image: {IMAGE}\n    network_mode: bridge\n    command: ['sh', '-c', '{NOISY}']\n"
    )
    deploy(docker_server, "talk", compose, running=1)
    return {str(row["name"]): row for row in rows(docker_server, "containers")}


def lines(page: Page) -> list[str]:
    return page.get_by_test_id("log-lines").locator(".line").all_inner_texts()


def test_logs_follow_hold_still_when_scrolled_up_and_filter(
    docker_server: RemudaServer, noisy: dict[str, dict[str, object]], open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(docker_server, f"/containers/{noisy['talk_noisy_1']['id']}?tab=logs")
    page.get_by_test_id("log-tail").select_option("10000")
    expect(page.get_by_test_id("log-count")).to_contain_text(re.compile(r"\b([5-9]|\d\d),\d{3} lines"))
    assert page.get_by_test_id("log-lines").locator(".line").count() < 200, "only what is seen is drawn"
    view = page.get_by_test_id("log-lines")

    def scrolled_up() -> bool:
        # like a person who goes on scrolling while lines still pour in
        view.evaluate("node => { node.scrollTop = 2000 }")
        return "new" in page.get_by_test_id("log-follow").inner_text()

    until(scrolled_up, 20, "the view let go of the end")
    before = (view.evaluate("node => node.scrollTop"), lines(page)[25])
    expect(page.get_by_test_id("log-follow")).to_contain_text("new")
    shown = page.get_by_test_id("log-follow").inner_text()
    until(lambda: page.get_by_test_id("log-follow").inner_text() != shown, 20, "more lines came")
    assert (view.evaluate("node => node.scrollTop"), lines(page)[25]) == before
    page.get_by_test_id("log-follow").click()
    expect(page.get_by_test_id("log-follow")).to_have_count(0)

    page.get_by_test_id("log-filter").fill("^line 1[0-9]$")
    expect(page.get_by_test_id("log-count")).to_contain_text("10 of")
    expect(page.get_by_test_id("log-lines").locator("mark").first).to_have_text("line 10")
    page.get_by_test_id("log-filter").fill("(")
    expect(page.get_by_test_id("log-count")).to_contain_text("regular expression")
    page.get_by_test_id("log-filter").fill("")
    page.get_by_test_id("log-source").select_option("err")
    expect(page.get_by_test_id("log-count")).to_contain_text("1 of")
    expect(page.get_by_test_id("log-lines")).to_contain_text("oops")

    with page.expect_download() as download:
        page.get_by_test_id("log-download").click()
    download.value.save_as(tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert "line 1\n" in text
    assert text.count("oops") == 1
    assert len(text.splitlines()) >= 5001


def test_logs_of_a_stopped_container_stay_readable(docker_server: RemudaServer, open_page: OpenPage) -> None:
    wish = {
        "name": "short",
        "imageUuid": f"docker:{IMAGE}",
        "command": ["sh", "-c", "echo last words; exec sleep 1000"],
    }
    identity = docker_server.call("POST", "/v1/projects/1a5/containers", wish)["id"]
    page = open_page(docker_server, f"/containers/{identity}")
    expect(page.locator("h1 + [data-state=running]")).to_be_visible()
    page.get_by_test_id("do-stop").click()
    page.get_by_test_id("confirm-ok").click()
    expect(page.locator("h1 + [data-state=stopped]")).to_be_visible()
    page.get_by_test_id("tab-logs").click()
    expect(page.get_by_test_id("log-lines")).to_contain_text("last words")
    expect(page.get_by_test_id("logs")).to_have_attribute("data-status", "closed")
    page.get_by_test_id("do-start").click()
    expect(page.locator("h1 + [data-state=running]")).to_be_visible()


def screen(page: Page) -> str:
    text: str = page.get_by_test_id("screen").evaluate(
        """node => { const b = node.terminal.buffer.active; const out = [];
        for (let i = 0; i < b.length; i += 1) out.push(b.getLine(i).translateToString(true)); return out.join("\\n").trim(); }"""
    )
    return text


def test_a_shell_types_resizes_ends_with_its_code_and_reconnects(
    docker_server: RemudaServer, noisy: dict[str, dict[str, object]], open_page: OpenPage
) -> None:
    page = open_page(docker_server, f"/containers/{noisy['talk_noisy_1']['id']}?tab=shell")
    shell = page.get_by_test_id("shell")
    expect(shell).to_have_attribute("data-phase", "open")

    def size() -> str:
        found: list[int] = page.get_by_test_id("screen").evaluate("node => [node.terminal.rows, node.terminal.cols]")
        return f"{found[0]} {found[1]}"

    page.get_by_test_id("screen").click()
    page.keyboard.type("echo $((40+2)); stty size\n")
    until(lambda: "\n42" in screen(page), 20, "the shell answers")
    until(lambda: f"\n{size()}" in screen(page), 20, "the terminal has the size of the window")
    before = size()
    page.set_viewport_size({"width": 900, "height": 620})
    until(lambda: size() != before, 10, "the terminal follows the window")
    page.keyboard.type("clear; stty size\n")
    until(lambda: size() in screen(page), 20, "the shell has the new size")
    page.keyboard.type("exit 3\n")
    expect(page.get_by_test_id("shell-status")).to_contain_text("exit code 3")
    assert page.get_by_test_id("shell").is_visible()
    page.get_by_test_id("reconnect").click()
    expect(shell).to_have_attribute("data-phase", "open")
    page.get_by_test_id("screen").click()
    page.keyboard.type("echo again$((1+1))\n")
    until(lambda: "again2" in screen(page), 20, "the new shell answers")


def test_figures_of_a_container_come_every_second(
    docker_server: RemudaServer, noisy: dict[str, dict[str, object]], open_page: OpenPage
) -> None:
    page = open_page(docker_server, f"/containers/{noisy['talk_noisy_1']['id']}")
    stats = page.get_by_test_id("stats")
    until(lambda: int(stats.get_attribute("data-points") or 0) >= 3, 30, "three seconds of figures came")
    expect(page.get_by_test_id("stat-cpu")).to_contain_text("%")
    expect(page.get_by_test_id("stat-memory")).to_contain_text("iB")


def test_containers_are_found_by_word_and_by_state(
    docker_server: RemudaServer, noisy: dict[str, dict[str, object]], open_page: OpenPage
) -> None:
    page = open_page(docker_server, "/containers")
    page.get_by_test_id("filter").fill("talk noisy")
    expect(page.locator("[data-testid=containers] tbody tr")).to_have_count(1)
    page.get_by_test_id("state-bad").click()
    expect(page.get_by_test_id("empty")).to_be_visible()
    assert "q=talk" in page.url
    page.reload()
    expect(page.get_by_test_id("filter")).to_have_value("talk noisy")
    page.get_by_test_id("state-all").click()
    page.get_by_test_id("container-talk_noisy_1").get_by_test_id("row-logs").click()
    expect(page.get_by_test_id("log-lines")).to_contain_text("line")

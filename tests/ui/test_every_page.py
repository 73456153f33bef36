"""T22, T21, T28, T23, T29: every page for every eye, hand and width; keys; the language; a secret that is shown once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.support.server import RemudaServer, fake_host, until
from tests.ui.conftest import ROOT, OpenPage, Watch, deploy, rows

AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
COMPOSE = (
    "services:\n  web:\n    image: busybox\n    command: sleep 1000\n    ports: ['18090:80']\n"
    "  gone:\n    image: nowhere.invalid/none:1\n"
)


@pytest.fixture(scope="module")
def busy(built: None, server: RemudaServer) -> Iterator[RemudaServer]:
    """One host, one service that runs, one that cannot."""
    with fake_host(server, "pagehost"):
        deploy(server, "pages", COMPOSE, running=1)
        yield server


@pytest.fixture(scope="module")
def paths(busy: RemudaServer) -> list[str]:
    stack = next(row for row in rows(busy, "environments") if row["name"] == "pages")
    service = next(
        row for row in rows(busy, "services") if row["environmentId"] == stack["id"] and row["name"] == "web"
    )
    container = next(row for row in rows(busy, "containers") if row["serviceId"] == service["id"])
    host = next(row for row in rows(busy, "hosts") if row["state"] == "active")
    return [
        "/", "/hosts", "/hosts/add", f"/hosts/{host['id']}", "/stacks", "/stacks/new",
        f"/stacks/{stack['id']}", f"/stacks/{stack['id']}?tab=compose",
        f"/services/{service['id']}", f"/services/{service['id']}?tab=why",
        "/containers", f"/containers/{container['id']}",
        f"/containers/{container['id']}?tab=logs", f"/containers/{container['id']}?tab=config",
        "/network", "/storage", "/registries", "/secrets", "/operations",
        "/admin/ha", "/admin/api-keys", "/admin/audit", "/admin/settings", "/nowhere",
    ]  # fmt: skip


def visit(page: Page, path: str) -> None:
    page.goto(path)
    page.locator("[data-testid=connection][data-state=live]").wait_for()
    page.locator("main h1, main [data-testid=empty]").first.wait_for()
    page.wait_for_load_state(
        "networkidle"
    ) if "tab=logs" not in path and "/admin/ha" not in path else page.wait_for_timeout(500)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_barrier(busy: RemudaServer, paths: list[str], open_page: OpenPage, theme: str) -> None:
    page = open_page(busy, color_scheme=theme, bypass_csp=True)
    script = Path(AXE).read_text()
    found: list[str] = []
    for path in paths:
        visit(page, path)
        page.evaluate(script)
        result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        for violation in result["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [
                    f"{node['target']} {node['any'][0]['message'] if node['any'] else ''}"
                    for node in violation["nodes"][:3]
                ]
                found.append(f"{path}: {violation['id']} {nodes}")
    assert not found, "\n".join(found)


def test_a_phone_shows_every_page_without_scrolling_sideways(
    busy: RemudaServer, paths: list[str], open_page: OpenPage
) -> None:
    page = open_page(busy, viewport={"width": 360, "height": 740})
    wide: list[str] = []
    for path in paths:
        visit(page, path)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if over > 0:
            wide.append(f"{path}: {over} px too wide")
    assert not wide, "\n".join(wide)
    page.get_by_test_id("burger").click()
    page.get_by_test_id("nav-containers").click()
    expect(page.get_by_test_id("title")).to_have_text("Containers")


def test_keys_and_palette_go_everywhere(busy: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(busy)
    for keys, title in (
        ("gh", "Hosts"),
        ("gs", "Stacks"),
        ("gc", "Containers"),
        ("ga", "High Availability"),
        ("go", "Overview"),
    ):
        for key in keys:
            page.keyboard.press(key)
        expect(page.get_by_test_id("title")).to_have_text(title)
    page.keyboard.press("?")
    expect(page.get_by_test_id("key-sheet")).to_contain_text("Go to Hosts")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("key-sheet")).to_have_count(0)

    page.keyboard.press("Control+k")
    entry = page.get_by_test_id("palette-input")
    entry.fill("rest web")
    expect(page.get_by_role("option").first).to_contain_text("Restart web")
    assert entry.get_attribute("aria-activedescendant") == "palette-0"
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("dialog")).to_contain_text("Restart web?")
    page.get_by_test_id("confirm-cancel").click()

    page.keyboard.press("Control+k")
    page.keyboard.type("ghx")
    page.keyboard.press("Escape")
    expect(entry).to_have_value("")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("palette")).to_have_count(0)
    expect(page.get_by_test_id("title")).to_have_text("Overview")


def test_the_pseudo_language_leaves_no_english_in_the_frame(
    busy: RemudaServer, paths: list[str], open_page: OpenPage
) -> None:
    page = open_page(busy, "/admin/settings")
    page.get_by_test_id("locale").select_option("pseudo")
    unmarked: set[str] = set()
    for path in paths:
        visit(page, path)
        texts = page.locator("h1, h2, th, label, nav a, button").all_inner_texts()
        own = (
            "pages",
            "web",
            "gone",
            "pagehost",
            "docker-compose.yml",
            "rancher-compose.yml",
            "Remuda",
            "CPU",
            "Docker",
        )
        for text in texts:
            line = text.strip().split("\n")[0]
            if (
                line.isascii()
                and any(len(word) > 4 and word.isalpha() for word in line.split())
                and not any(o in line for o in own)
            ):
                unmarked.add(f"{path}: {line}")
    allowed = (
        "api.",
        "agent.",
        "ha.",
        "events.",
        "audit_log",
        "project.",
        "rancher.",
        "remuda.",
        "catalog",
        "arrival",
        "shop",
        "picky",
        "changing",
    )
    left = [line for line in sorted(unmarked) if not any(word in line for word in allowed)]
    assert not left, "\n".join(left)


def test_a_secret_key_is_shown_once(server: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(server, "/admin/api-keys")
    page.get_by_test_id("create-key").click()
    page.get_by_test_id("key-name").fill("robot")
    page.get_by_test_id("key-create").click()
    secret = page.get_by_test_id("secret-key-text").inner_text()
    assert len(secret) >= 32
    page.get_by_test_id("key-done").click()
    expect(page.get_by_test_id("keys")).to_contain_text("robot")
    page.reload()
    expect(page.get_by_test_id("keys")).to_contain_text("robot")
    assert secret not in page.content()


def test_theme_is_kept_and_names_are_only_text(server: RemudaServer, open_page: OpenPage, watch: Watch) -> None:
    trap = "<img src=x onerror=alert(1)>"
    server.call(
        "POST",
        "/v1/projects/1a5/environments",
        {"name": "trap", "description": trap, "dockerCompose": "services:\n  a:\n    image: busybox\n"},
    )
    page = open_page(server, "/stacks")
    expect(page.get_by_test_id("stack-trap")).to_contain_text(trap)
    page.get_by_test_id("theme").click()
    page.get_by_test_id("theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    until(lambda: page.evaluate("document.documentElement.dataset.theme") == "dark", 10, "the theme is kept")


def test_without_a_server_the_page_says_which_node_is_away(
    server: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    watch.expect("ERR_FAILED")
    page = open_page(server, user=False)
    page.route("**/v1/**", lambda route: route.abort("failed"))
    page.reload()
    expect(page.get_by_test_id("empty")).to_contain_text("127.0.0.1")
    page.unroute("**/v1/**")
    page.get_by_test_id("retry").click()
    expect(page.get_by_test_id("submit")).to_be_visible()

"""T01: the first visitor with the secret becomes the administrator, once; nobody else gets in."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect
from tests.support.server import RemudaServer, remuda_server, until
from tests.ui.conftest import OpenPage, Watch


def test_the_administrator_is_created_once_with_the_secret(built: None, open_page: OpenPage, watch: Watch) -> None:
    with remuda_server(set_up=False) as server:
        file = server.folder / "data" / "setup-secret"
        secret = until(lambda: file.exists() and file.read_text().strip(), what="the setup secret")
        page = open_page(server, user=False)
        page.get_by_test_id("username").fill("ada")
        page.get_by_test_id("secret").fill("wrong")
        page.get_by_test_id("password").fill("short")
        page.get_by_test_id("again").fill("other")
        page.get_by_test_id("submit").click()
        weak = page.get_by_test_id("password")
        expect(weak).to_have_attribute("aria-invalid", "true")
        expect(weak).to_be_focused()
        about = weak.get_attribute("aria-describedby")
        expect(page.locator(f"#{about}")).to_contain_text("at least 8 characters")
        expect(page.get_by_test_id("error-summary")).to_contain_text("differ")

        watch.expect("403", "status of 403")
        page.get_by_test_id("password").fill("horses run free")
        page.get_by_test_id("again").fill("horses run free")
        page.get_by_test_id("submit").click()
        expect(page.get_by_test_id("secret")).to_have_attribute("aria-invalid", "true")

        page.get_by_test_id("secret").fill(secret)
        page.get_by_test_id("name").fill("Ada Byron")
        page.get_by_test_id("submit").click()
        expect(page.get_by_test_id("title")).to_have_text("Overview")
        expect(page.get_by_test_id("who")).to_have_text("Ada Byron")

        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{server.url}/v1/projects/1a5/hosts", timeout=5)
        assert refusal.value.code == 401

        other = open_page(server, "/setup", user=False)
        expect(other.get_by_test_id("submit")).to_have_text("Log in")
        assert other.get_by_test_id("secret").count() == 0
        for context in (page.context, other.context):
            context.close()


def test_login_refuses_a_wrong_password_and_lets_go_on_after_the_session_ended(
    server: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    from tests.support.server import PASSWORD, USERNAME

    watch.expect("401", "status of 401", "WebSocket")
    page = open_page(server, "/hosts", user=False)
    page.get_by_test_id("username").fill(USERNAME)
    page.get_by_test_id("password").fill("not this one")
    page.get_by_test_id("submit").click()
    expect(page.get_by_test_id("error-summary")).to_contain_text("do not match")
    page.get_by_test_id("password").fill(PASSWORD)
    page.get_by_test_id("submit").click()
    expect(page.get_by_test_id("title")).to_have_text("Hosts")

    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["token"]["httpOnly"]
    assert cookies["token"]["sameSite"] in ("Lax", "Strict")

    page.context.clear_cookies(name="token")
    page.get_by_test_id("nav-settings").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    page.get_by_test_id("username").fill(USERNAME)
    page.get_by_test_id("password").fill(PASSWORD)
    page.get_by_test_id("submit").click()
    expect(page.get_by_test_id("title")).to_have_text("Settings")
    page.get_by_test_id("logout").click()
    expect(page.get_by_test_id("submit")).to_have_text("Log in")
    page.reload()
    expect(page.get_by_test_id("submit")).to_have_text("Log in")

"""The pages of volumes, registries and secrets: each one's main task as a person does it, and what the server refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.support.server import RemudaServer, fake_host
from tests.ui.conftest import OpenPage, Watch, rows


@pytest.fixture(scope="module")
def store(server: RemudaServer) -> Iterator[RemudaServer]:
    with fake_host(server, "storehost"):
        yield server


def remove(page: Page, table: str, name: str) -> None:
    row = page.get_by_test_id(table).get_by_role("row").filter(has_text=name)
    row.get_by_test_id("menu").click()
    page.get_by_test_id("do-remove").click()
    page.get_by_test_id("confirm-ok").click()
    expect(row).to_have_count(0)


def test_a_secret_is_added_is_never_shown_and_is_removed(
    store: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    page = open_page(store)
    page.get_by_test_id("nav-secrets").click()
    page.get_by_test_id("secret-add").click()
    page.get_by_test_id("ask-save").click()
    expect(page.get_by_test_id("ask-fault")).to_contain_text("is needed")
    expect(page.get_by_test_id("ask-name")).to_be_focused()
    watch.expect("422")
    page.get_by_test_id("ask-name").fill("not a name")
    page.get_by_test_id("ask-value").fill("swordfish")
    page.get_by_test_id("ask-save").click()
    expect(page.get_by_test_id("ask-name")).to_have_attribute("aria-invalid", "true")
    page.get_by_test_id("ask-name").fill("db-password")
    page.get_by_test_id("ask-save").click()
    expect(page.get_by_test_id("secrets")).to_contain_text("db-password")
    expect(page.locator("body")).not_to_contain_text("swordfish")
    remove(page, "secrets", "db-password")


def test_a_registry_is_added_logged_in_to_switched_off_and_removed(store: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(store, "/registries")
    page.get_by_test_id("registry-add").click()
    page.get_by_test_id("ask-serverAddress").fill("registry.example.test:5000")
    page.get_by_test_id("ask-save").click()
    row = page.get_by_test_id("registries").get_by_role("row").filter(has_text="registry.example.test:5000")
    row.get_by_test_id("registry-login").click()
    page.get_by_test_id("ask-publicValue").fill("joe")
    page.get_by_test_id("ask-secretValue").fill("swordfish")
    page.get_by_test_id("ask-save").click()
    expect(row).to_contain_text("joe")
    row.get_by_test_id("menu").click()
    page.get_by_test_id("do-login").click()
    expect(page.get_by_test_id("ask-secretValue")).to_have_value("")
    page.keyboard.press("Escape")
    row.get_by_test_id("menu").click()
    page.get_by_test_id("do-deactivate").click()
    expect(row.locator("[data-state=inactive]")).to_be_visible()
    remove(page, "registries", "registry.example.test:5000")


def test_a_volume_is_added_and_removed(store: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(store, "/storage")
    page.get_by_test_id("volume-add").click()
    page.get_by_test_id("ask-name").fill("shared-data")
    page.get_by_test_id("ask-driver").fill("local")
    page.get_by_test_id("ask-hostId").select_option(label="storehost")
    page.get_by_test_id("ask-save").click()
    expect(page.get_by_test_id("volumes")).to_contain_text("shared-data")
    assert [row["driver"] for row in rows(store, "volumes") if row["name"] == "shared-data"] == ["local"]
    remove(page, "volumes", "shared-data")

"""T02, T03, T05, T06: the installation page's walk in the browser, word for word, against a real external MariaDB."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect
from testbed.outside import PASSWORD
from tests.support.server import RemudaServer
from tests.ui.conftest import OpenPage, Watch


def download(page: Page, to: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_test_id("download").click()
    assert waiting.value.suggested_filename == "remuda-ha.sh"
    waiting.value.save_as(to)
    return to


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_walk_gives_a_script_and_the_same_bytes_each_time(
    cluster_server: RemudaServer, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(cluster_server)
    page.get_by_role("link", name="High Availability", exact=True).click()  # the first click
    database = page.get_by_test_id("ha-database")
    expect(database).to_have_attribute("data-ready", "true")
    expect(database).to_contain_text("10.83.0.100")
    expect(page.get_by_role("group", name="Cluster size")).to_be_visible()
    expect(page.get_by_test_id("size-3")).to_be_checked()
    field = page.get_by_label("Host Registration URL")
    field.fill("https://lb.example.com:8443/v1")
    field.blur()
    expect(field).to_have_value("lb.example.com:8443")
    page.get_by_test_id("advanced").click()
    expect(page.get_by_test_id("httpsPort")).to_have_value("8443")
    page.get_by_role("button", name="Generate Config Script").click()
    expect(page.get_by_test_id("generation")).to_contain_text("lb.example.com:8443")
    expect(page.get_by_test_id("stop-reminder")).to_contain_text("Stop this server")
    first = download(page, tmp_path / "first.sh")
    text = first.read_text()
    assert text.startswith("#!")
    subprocess.run(["bash", "-n", str(first)], check=True, timeout=20)
    assert "https://lb.example.com:8443" in text
    assert "10.83.0.100" in text
    for port in ("8443", "80", "444", "81", "2376", "6379", "2181", "2888", "3888"):
        assert port in text
    assert PASSWORD not in text

    second = download(page, tmp_path / "second.sh")
    page.reload()
    expect(page.get_by_test_id("generation")).to_be_visible()
    expect(field).to_have_value("lb.example.com:8443")
    third = download(page, tmp_path / "third.sh")
    assert digest(first) == digest(second) == digest(third)

    fingerprint = page.get_by_test_id("fingerprint").inner_text()
    page.get_by_test_id("rotate").click()
    expect(page.get_by_test_id("dialog")).to_contain_text("every node")
    page.get_by_test_id("confirm-ok").click()
    expect(page.get_by_test_id("generation")).to_contain_text("Generation 2")
    expect(page.get_by_test_id("fingerprint")).not_to_have_text(fingerprint)
    assert digest(download(page, tmp_path / "fourth.sh")) != digest(first)
    page.get_by_test_id("tab-status").click()
    expect(page.get_by_test_id("ha-audit").locator("li")).to_have_count(2)


def test_mistakes_are_told_at_the_field_before_and_after_the_server_saw_them(
    cluster_server: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    page = open_page(cluster_server, "/admin/ha?tab=setup")
    field = page.get_by_test_id("host-registration-url")
    for wrong, why in (
        ("", "Give the address"),
        ("two words", "no spaces"),
        ("me@lb.example.com", "before the @"),
        ("lb.example.com/ui", "path"),
    ):
        field.fill(wrong)
        page.get_by_test_id("generate").click()
        expect(page.locator("#url-about")).to_contain_text(why)
        expect(field).to_be_focused()
    field.fill("lb.example.com")
    page.get_by_test_id("advanced").click()
    page.get_by_test_id("redisPort").fill("2181")
    page.get_by_test_id("generate").click()
    expect(page.get_by_test_id("error-summary")).to_contain_text("Already used")
    page.get_by_test_id("redisPort").fill("70000")
    page.get_by_test_id("generate").click()
    expect(page.locator("#redisPort-about")).to_contain_text("1 to 65535")
    page.get_by_test_id("reset-ports").click()

    watch.expect("422", "status of 422")
    page.get_by_test_id("cert-own").check()
    page.get_by_test_id("key").fill("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
    page.get_by_test_id("cert").fill("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
    page.get_by_test_id("generate").click()
    expect(page.get_by_test_id("error-summary")).to_be_visible()
    expect(page.locator("[aria-invalid=true]").first).to_be_focused()


def test_the_embedded_database_is_refused_with_the_way_out(server: RemudaServer, open_page: OpenPage) -> None:
    page = open_page(server, "/admin/ha")
    expect(page.get_by_test_id("ha-database")).to_have_attribute("data-ready", "false")
    expect(page.get_by_test_id("ha-database")).to_contain_text("CATTLE_DB_CATTLE_MYSQL_HOST")
    expect(page.get_by_test_id("generate")).to_be_disabled()
    expect(page.get_by_test_id("not-ready")).to_be_visible()

"""The network page, certificates, and the services that are not of an image: load balancers, external services, aliases."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.sync_api import Page, expect
from tests.support.server import RemudaServer, fake_host
from tests.ui.conftest import OpenPage, Watch, deploy, rows

COMPOSE = "services:\n  web:\n    image: busybox\n    command: sleep 1000\n  api:\n    image: busybox\n    command: sleep 1000\n"


@pytest.fixture(scope="module")
def shop(server: RemudaServer) -> Iterator[RemudaServer]:
    """A host, and a stack with two services."""
    with fake_host(server, "nethost"):
        deploy(server, "network", COMPOSE, running=2)
        yield server


@pytest.fixture
def stack(shop: RemudaServer, open_page: OpenPage) -> Page:
    found = next(row for row in rows(shop, "environments") if row["name"] == "network")
    return open_page(shop, f"/stacks/{found['id']}")


def pem(name: str, days: int) -> tuple[str, str]:
    """A certificate that ends after so many days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


def fill_certificate(page: Page, name: str, cert: str, key: str) -> None:
    for field, text in (("name", name), ("cert", cert), ("key", key)):
        page.get_by_test_id(f"certificate-{field}").fill(text)
    page.get_by_test_id("certificate-save").click()


def test_a_certificate_is_added_warned_of_replaced_and_removed(
    shop: RemudaServer, open_page: OpenPage, watch: Watch
) -> None:
    page = open_page(shop, "/network")
    cert, key = pem("shop.example.test", 5)
    _, strange = pem("other.example.test", 5)
    page.get_by_test_id("certificate-add").click()
    watch.expect("422")
    fill_certificate(page, "shop", cert, strange)
    expect(page.get_by_test_id("certificate-fault")).to_contain_text("does not belong to this certificate")
    expect(page.get_by_test_id("certificate-key")).to_be_focused()
    fill_certificate(page, "shop", cert, key)
    row = page.get_by_test_id("certificates").get_by_role("row").filter(has_text="shop.example.test")
    expect(row.get_by_test_id("certificate-warning")).to_contain_text("It ends in 5 days")
    row.get_by_test_id("menu").click()
    page.get_by_test_id("do-replace").click()
    fill_certificate(page, "shop", *pem("shop.example.test", 300))
    expect(page.get_by_test_id("dialog")).to_have_count(0)
    expect(row.get_by_test_id("certificate-warning")).to_have_count(0)
    row.get_by_test_id("menu").click()
    page.get_by_test_id("do-remove").click()
    page.get_by_test_id("confirm-ok").click()
    expect(row).to_have_count(0)


def test_the_network_is_shown_changed_and_explained(shop: RemudaServer, open_page: OpenPage, watch: Watch) -> None:
    page = open_page(shop)
    page.get_by_test_id("nav-network").click()
    expect(page.get_by_test_id("network-subnet")).to_have_value("10.42.0.0/16")
    expect(page.get_by_test_id("network-hosts")).to_contain_text("nethost")
    page.get_by_test_id("network-default").select_option("deny")
    page.get_by_test_id("network-policy").fill("allow:stack\nallow:com.example.team")
    page.get_by_test_id("network-save").click()
    expect(page.get_by_test_id("notice")).to_contain_text("The network is changed")
    network = rows(shop, "networks")[0]
    assert network["defaultPolicyAction"] == "deny"
    assert [(r["action"], r.get("within"), r.get("between")) for r in network["policy"]] == [  # type: ignore[attr-defined]
        ("allow", "stack", None),
        ("allow", None, {"groupBy": "com.example.team"}),
    ]
    page.get_by_test_id("explain-source").fill("network_web_1")
    page.get_by_test_id("explain-target").fill("network_api_1")
    page.get_by_test_id("explain").click()
    expect(page.get_by_test_id("explanation")).not_to_be_empty()
    watch.expect("422")
    page.get_by_test_id("network-first").fill("61000")
    page.get_by_label("to", exact=True).fill("60000")
    page.get_by_test_id("network-save").click()
    expect(page.get_by_test_id("network-fault")).to_contain_text("must not be above")
    shop.call("PUT", f"/v1/projects/1a5/networks/{network['id']}", {"defaultPolicyAction": "allow", "policy": []})


def test_a_load_balancer_is_added_and_its_rules_changed(stack: Page, shop: RemudaServer, watch: Watch) -> None:
    page = stack
    page.get_by_test_id("add-loadBalancerService").click()
    page.get_by_test_id("kind-name").fill("front")
    first = page.get_by_test_id("rule-0")
    first.get_by_test_id("rule-port").fill("42")
    first.get_by_test_id("rule-target").select_option(label="network/web")
    watch.expect("422")
    page.get_by_test_id("kind-save").click()
    expect(page.get_by_test_id("kind-fault")).to_contain_text("port 42 is the load balancer's own health check")
    first.get_by_test_id("rule-port").fill("8088")
    first.get_by_test_id("rule-targetport").fill("80")
    page.get_by_test_id("kind-save").click()
    page.get_by_test_id("service-front").get_by_role("link", name="front").click()
    shown = page.get_by_test_id("kind")
    expect(shown.get_by_role("row").nth(1)).to_contain_text("8088")
    expect(shown.get_by_role("link", name="web")).to_be_visible()

    page.get_by_test_id("kind-edit").click()
    page.get_by_test_id("rule-more").click()
    second = page.get_by_test_id("rule-1")
    second.get_by_test_id("rule-port").fill("8088")
    second.get_by_test_id("rule-host").fill("api.example.test")
    second.get_by_test_id("rule-path").fill("/v1")
    second.get_by_test_id("rule-target").select_option(label="network/api")
    page.get_by_test_id("kind-save").click()
    expect(shown.get_by_role("row")).to_have_count(3)
    expect(shown).to_contain_text("api.example.test")
    front = next(row for row in rows(shop, "services") if row["name"] == "front")
    assert front["launchConfig"]["ports"] == ["8088:8088"]  # type: ignore[index]
    rules = front["lbConfig"]["portRules"]  # type: ignore[index]
    assert [(r["sourcePort"], r.get("targetPort"), r.get("hostname"), r.get("path")) for r in rules] == [
        (8088, 80, None, None),
        (8088, None, "api.example.test", "/v1"),
    ]


def test_what_is_outside_and_an_alias_are_added_and_changed(stack: Page, watch: Watch) -> None:
    page = stack
    page.get_by_test_id("add-externalService").click()
    page.get_by_test_id("kind-name").fill("beyond")
    page.get_by_test_id("kind-addresses").fill("192.0.2.7\nnowhere")
    watch.expect("422")
    page.get_by_test_id("kind-save").click()
    expect(page.get_by_test_id("kind-fault")).to_contain_text("'nowhere' is no IP address")
    page.get_by_test_id("kind-addresses").fill("192.0.2.7 192.0.2.8")
    page.get_by_test_id("kind-save").click()
    page.get_by_test_id("service-beyond").get_by_role("link", name="beyond").click()
    expect(page.get_by_test_id("kind")).to_contain_text("192.0.2.7, 192.0.2.8")
    page.go_back()
    page.get_by_test_id("add-dnsService").click()
    page.get_by_test_id("kind-name").fill("either")
    page.get_by_test_id("kind-links").select_option(label=["network/web", "network/api"])
    page.get_by_test_id("kind-save").click()
    page.get_by_test_id("service-either").get_by_role("link", name="either").click()
    expect(page.get_by_test_id("kind").get_by_role("link")).to_have_count(2)
    page.get_by_test_id("kind-edit").click()
    page.get_by_test_id("kind-links").select_option(label=["network/api"])
    page.get_by_test_id("kind-save").click()
    expect(page.get_by_test_id("kind").get_by_role("link")).to_have_count(1)

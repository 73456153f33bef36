"""What is refused before a script exists, and with which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from remuda.ha.certificates import issue, new_ca
from remuda.ha.config import HaInput, validate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
URL = "https://lb.example.com"


def codes(given: HaInput) -> list[tuple[str, str]]:
    return [(item.field, item.code) for item in validate(given, NOW)[1]]


def test_the_defaults_are_accepted() -> None:
    config, problems = validate(HaInput(host_registration_url=URL), NOW)
    assert config is not None
    assert problems == []
    assert (config.cluster_size, config.host, config.ports.zookeeper_leader_port) == (3, "lb.example.com", 3888)


@pytest.mark.parametrize("size", [-1, 0, 2, 4, 6, 7, 9])
def test_other_sizes_are_refused_with_a_reason(size: int) -> None:
    config, problems = validate(HaInput(cluster_size=size, host_registration_url=URL), NOW)
    assert config is None
    assert [item.code for item in problems] == ["InvalidClusterSize"]
    assert "1 (no node may fail), 3" in problems[0].message
    if size in (2, 4, 6):
        assert f"than one of {size - 1}" in problems[0].message


@pytest.mark.parametrize(
    ("given", "url", "https", "http"),
    [
        ("https://lb.example.com:8443/v1", "https://lb.example.com:8443", 8443, 80),
        ("LB.Example.com", "https://lb.example.com", 443, 80),
        (" https://lb.example.com/ ", "https://lb.example.com", 443, 80),
        ("https://lb.example.com:443/v1/", "https://lb.example.com", 443, 80),
        ("lb.example.com:8443", "https://lb.example.com:8443", 8443, 80),
        ("http://lb.example.com:8088", "http://lb.example.com:8088", 443, 8088),
        ("https://[2001:db8::7]:444/", "https://[2001:db8::7]:444", 444, 80),
        ("https://203.0.113.9", "https://203.0.113.9", 443, 80),
    ],
)
def test_a_pasted_url_is_normalised(given: str, url: str, https: int, http: int) -> None:
    config, problems = validate(HaInput(host_registration_url=given, pp_https_port=4440), NOW)
    assert config is not None, problems
    assert config.host_registration_url == url
    assert (config.ports.https_port, config.ports.http_port) == (https, http)


def test_a_port_the_operator_chose_is_kept_and_the_difference_named() -> None:
    config, problems = validate(HaInput(host_registration_url="https://lb.example.com:8443", https_port=9443), NOW)
    assert config is not None
    assert config.ports.https_port == 9443
    assert [(item.code, item.severity) for item in problems] == [("PortDiffersFromUrl", "warning")]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "MissingRequired"),
        ("   ", "MissingRequired"),
        ("https://", "MissingRequired"),
        ("https:///v1", "MissingRequired"),
        ("https://lb.example.com/remuda", "UrlHasPath"),
        ("https://lb .example.com", "InvalidCharacters"),
        ("https://lb.example.com\nx", "InvalidCharacters"),
        ("https://$(reboot)", "InvalidCharacters"),
        ("https://me:secret@lb.example.com", "UrlHasUserinfo"),
        ("https://lb.example.com/?a=b", "UrlHasQuery"),
        ("https://lb.example.com#x", "UrlHasQuery"),
        ("ftp://lb.example.com", "InvalidScheme"),
        ("https://lb.example.com:0", "InvalidPort"),
        ("https://lb.example.com:65536", "InvalidPort"),
        ("https://lb.example.com:http", "InvalidPort"),
        ("https://300.1.1.1", "InvalidHost"),
        ("https://-lb-", "InvalidHost"),
        ("https://lb..example.com", "InvalidHost"),
    ],
)
def test_a_bad_url_is_refused(url: str, code: str) -> None:
    assert validate(HaInput(host_registration_url=url), NOW)[0] is None
    assert codes(HaInput(host_registration_url=url)) == [("hostRegistrationUrl", code)]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://localhost", "UrlIsLocalhost"),
        ("https://127.0.0.2", "UrlIsLocalhost"),
        ("https://[::1]", "UrlIsLocalhost"),
        ("https://10.1.2.3", "UrlIsPrivate"),
        ("http://lb.example.com", "UrlNotEncrypted"),
    ],
)
def test_a_doubtful_url_is_only_warned_about(url: str, code: str) -> None:
    config, problems = validate(HaInput(host_registration_url=url), NOW)
    assert config is not None
    assert [(item.code, item.severity) for item in problems] == [(code, "warning")]


def test_ports_must_be_ports_and_different() -> None:
    given = HaInput(host_registration_url=URL, redis_port=0, pp_http_port=65536, pp_https_port=443)
    assert codes(given) == [
        ("ppHttpPort", "InvalidPort"),
        ("ppHttpsPort", "DuplicatePort"),
        ("redisPort", "InvalidPort"),
    ]
    assert codes(HaInput(host_registration_url=URL, redis_port=18080)) == [("redisPort", "ReservedPort")]


def test_a_port_that_is_not_used_cannot_collide() -> None:
    assert codes(HaInput(host_registration_url=URL, http_enabled=False, pp_http_port=80)) == []
    assert codes(HaInput(host_registration_url=URL, redis_port=2376)) == []
    assert codes(HaInput(host_registration_url=URL, swarm_enabled=True, redis_port=2376)) == [
        ("swarmPort", "DuplicatePort"),
    ]


# ---------------------------------------------------------------- the operator's own certificate

CA = new_ca("Example CA", NOW - timedelta(days=400))
GOOD = issue(CA, "lb.example.com", ["lb.example.com", "*.apps.example.com"], NOW, 400)


def own(cert: str = GOOD.cert, key: str = GOOD.key, chain: str = CA.cert, url: str = URL) -> HaInput:
    return HaInput(host_registration_url=url, cert=cert, key=key, cert_chain=chain)


def test_a_good_certificate_is_described() -> None:
    config, problems = validate(own(), NOW)
    assert problems == []
    assert config is not None
    assert config.certificate is not None
    assert config.certificate.names == ["lb.example.com", "*.apps.example.com"]
    assert "Example CA" in config.certificate.issuer


def test_wildcards_cover_one_label() -> None:
    assert codes(own(url="https://one.apps.example.com")) == []
    assert codes(own(url="https://two.one.apps.example.com")) == [("cert", "SanMismatch")]


def test_each_fault_has_its_own_code() -> None:
    other = issue(CA, "lb.example.com", ["lb.example.com"], NOW)
    locked = (
        serialization.load_pem_private_key(GOOD.key.encode(), None)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        .decode()
    )
    old = issue(CA, "lb.example.com", ["lb.example.com"], NOW - timedelta(days=100), 50)
    soon = issue(CA, "lb.example.com", ["lb.example.com"], NOW, 20)
    early = issue(CA, "lb.example.com", ["lb.example.com"], NOW + timedelta(days=10))
    root = new_ca("Another CA", NOW)
    assert codes(own(key=other.key)) == [("key", "KeyMismatch")]
    assert codes(own(key=locked)) == [("key", "KeyEncrypted")]
    assert codes(own(key="rubbish")) == [("key", "KeyUnreadable")]
    assert codes(own(key="")) == [("key", "KeyMissing")]
    assert codes(own(cert="")) == [("cert", "CertificateMissing")]
    assert codes(own(cert="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")) == [
        ("cert", "CertificateUnreadable"),
    ]
    assert codes(own(cert=GOOD.key)) == [("cert", "CertificateUnreadable")]
    assert codes(own(cert=old.cert, key=old.key)) == [("cert", "CertificateExpired")]
    assert codes(own(cert=soon.cert, key=soon.key)) == [("cert", "CertificateEndsSoon")]
    assert codes(own(cert=early.cert, key=early.key)) == [("cert", "CertificateNotYetValid")]
    assert codes(own(url="https://other.example.com")) == [("cert", "SanMismatch")]
    assert codes(own(chain=root.cert + CA.cert)) == [("certChain", "ChainOrder")]
    assert codes(own(chain="rubbish")) == [("certChain", "ChainUnreadable"), ("certChain", "ChainMissing")]
    assert codes(own(chain="")) == [("certChain", "ChainMissing")]


def test_messages_never_hold_the_key() -> None:
    for problem in validate(own(key=CA.key), NOW)[1]:
        assert "PRIVATE" not in problem.message
        assert GOOD.key.splitlines()[1] not in problem.message

"""Certificates hold under the eyes of another implementation: openssl, and a real handshake."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from remuda.ha.certificates import days_left, fingerprint, issue, names_of, needs_renewal, new_ca

NOW = datetime.now(UTC)


def write(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_openssl_verifies_a_node_certificate(tmp_path: Path) -> None:
    ca = new_ca("Remuda cluster CA", NOW)
    node = issue(ca, "node", ["10.0.0.1", "127.0.0.1", "fd00::1", "host-1", "localhost"], NOW)
    ca_file, node_file = write(tmp_path, "ca.crt", ca.cert), write(tmp_path, "node.crt", node.cert)
    for purpose in ("sslserver", "sslclient"):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca_file, node_file]
        subprocess.run(command, check=True, timeout=20, capture_output=True)
    command = ["openssl", "verify", "-verify_ip", "10.0.0.1", "-CAfile", ca_file, node_file]
    subprocess.run(command, check=True, timeout=20, capture_output=True)
    assert names_of(node.cert) == ["host-1", "localhost", "10.0.0.1", "127.0.0.1", "fd00::1"]
    assert node.key.startswith("-----BEGIN PRIVATE KEY-----"), "ZooKeeper reads PKCS#8 only"


def test_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    ca = new_ca("Remuda front CA", NOW)
    command = ["openssl", "x509", "-in", write(tmp_path, "ca.crt", ca.cert), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, check=True, timeout=20, capture_output=True, text=True).stdout
    assert shown.strip().split("=")[1].replace(":", "").lower() == fingerprint(ca.cert)


def test_both_sides_of_a_handshake_accept_each_other(tmp_path: Path) -> None:
    ca = new_ca("Remuda cluster CA", NOW)
    ca_file = write(tmp_path, "ca.crt", ca.cert)
    pair = issue(ca, "node", ["127.0.0.1"], NOW)
    both = write(tmp_path, "both.pem", pair.cert + pair.key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca_file)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(both)
    client = ssl.create_default_context(cafile=ca_file)
    client.load_cert_chain(both)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        with server.wrap_socket(raw, server_side=True) as wrapped:
            wrapped.sendall(b"hello")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with (
        socket.create_connection(listener.getsockname(), timeout=10) as raw,
        client.wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.recv(5) == b"hello"
    thread.join(10)
    listener.close()


def test_renewal_is_due_before_the_end_and_not_earlier() -> None:
    ca = new_ca("Remuda front CA", NOW)
    front = issue(ca, "lb.example.com", ["lb.example.com"], NOW, 825)
    assert not needs_renewal(front.cert, NOW)
    assert needs_renewal(front.cert, NOW + timedelta(days=800))
    assert days_left(front.cert, NOW) in (823, 824)

"""``remuda secrets``, ``registries`` and ``pull``, and secrets of files that ``remuda up`` makes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_a_secret_is_kept_listed_used_and_only_then_removable(run: Run, home: Path) -> None:
    (home / "value").write_text("swordfish")
    made = run("secret", "create", "db.pass", "value")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("1se")
    listed = run("secrets")
    assert "db.pass" in listed.stdout
    assert "swordfish" not in listed.stdout + made.stdout + made.stderr
    again = run("secrets", "create", "db.pass", "-", stdin="other")
    assert again.returncode != 0
    assert "choose another name" in again.stderr
    removed = run("secret", "rm", "-f", "db.pass")
    assert removed.returncode == 0, removed.stderr
    assert "db.pass" not in run("secrets").stdout
    assert "there is no secret" in run("secret", "rm", "-f", "db.pass").stderr


def test_up_makes_the_secrets_that_a_file_declares_and_leaves_those_that_exist(run: Run, home: Path) -> None:
    (home / "key.pem").write_text("a key")
    (home / "docker-compose.yml").write_text(
        "services:\n  web:\n    image: nginx\n    secrets:\n    - key\n    - {source: token, target: t, mode: 0400}\n"
        "secrets:\n  key: {file: ./key.pem}\n  token: {environment: TOKEN}\n"
    )
    done = run("up", "-d", "--stack", "secretive", env={"TOKEN": "t0ken"})
    assert done.returncode == 0, done.stderr
    assert "secret key is kept, from ./key.pem" in done.stderr
    exported = run("export", "secretive").stdout
    assert "source: token" in exported
    assert "t0ken" not in exported
    again = run("up", "-d", "--stack", "secretive", env={"TOKEN": "t0ken"})
    assert again.returncode == 0, again.stderr
    assert "secret key is there already" in again.stderr
    refused = run("secret", "rm", "-f", "key")
    assert refused.returncode != 0
    assert "used by web" in refused.stderr
    run("rm", "-f", "--wait", "secretive")


def test_an_external_secret_that_is_missing_is_named(run: Run, home: Path) -> None:
    (home / "docker-compose.yml").write_text(
        "services:\n  web: {image: nginx, secrets: [absent]}\nsecrets:\n  absent: {external: true}\n"
    )
    done = run("up", "-d", "--stack", "missing")
    assert done.returncode != 0
    assert "there is no secret 'absent'" in done.stderr
    assert "missing" not in run("stacks").stdout


def test_a_registry_is_added_with_a_password_that_is_never_shown(run: Run) -> None:
    made = run(
        "registry", "add", "registry.example.com:5000", "--user", "joe", "--password-stdin", stdin="hidden-word\n"
    )
    assert made.returncode == 0, made.stderr
    again = run("registry", "add", "https://registry.example.com:5000", "-u", "jane", "--password-stdin", stdin="x\n")
    assert again.returncode == 0, again.stderr
    shown = run("registries", "--format", "json").stdout
    assert [r["serverAddress"] for r in json.loads(shown)] == ["registry.example.com:5000"]
    listed = run("registries").stdout
    assert "jane" in listed
    assert "joe" not in listed
    assert "hidden-word" not in made.stdout + made.stderr + shown + listed
    assert run("registry", "rm", "-f", "registry.example.com:5000").returncode == 0


def test_pull_waits_and_tells_each_host(run: Run) -> None:
    done = run("pull", "missing/image", "--cached")
    assert done.returncode == 0, done.stderr
    assert "h1: Done (it is not cached here)" in done.stderr
    assert "h2: Done (it is not cached here)" in done.stderr
    failed = run("pull", "missing/image")
    assert failed.returncode == 1
    assert "2 of 2 hosts failed: pull access denied" in failed.stderr
    none = run("pull", "nginx:1", "--label", "zone=nowhere")
    assert none.returncode == 0
    assert "No host matches" in none.stderr

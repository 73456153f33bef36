"""Secrets of compose files: short, long, from files and external ones; each mistake at its place."""

from __future__ import annotations

import pytest

from remuda.compose import Project, dump, load
from remuda.core.spec import SecretReference

SECTION = """
secrets:
  pass: {external: true}
  key: {file: ./key.pem}
  other: {external: {name: shared.other}}
  token: {environment: TOKEN}
"""


def service(lines: str, section: str = SECTION) -> Project:
    return load(f"version: '2'\nservices:\n  web:\n    image: nginx\n    secrets:\n{lines}{section}", stack_name="shop")


def mounted(project: Project) -> list[SecretReference]:
    assert not project.errors, project.errors
    return list(project.services[0].launch_config.secrets)


def test_what_a_file_declares_is_told_with_where_its_value_comes_from() -> None:
    found = {s.name: s for s in service("    - pass\n").secrets}
    assert found["pass"].external
    assert found["key"].file == "./key.pem"
    assert (found["other"].secret, found["other"].external) == ("shared.other", True)
    assert found["token"].variable == "TOKEN"
    assert found["key"].secret == "key", "a secret belongs to the environment, so no stack's name is put before it"


def test_a_secret_is_a_file_of_its_name_that_everybody_in_the_container_reads() -> None:
    assert mounted(service("    - pass\n    - other\n")) == [
        SecretReference(secret_id="pass", name="pass", uid="0", gid="0", mode="0444"),
        SecretReference(secret_id="shared.other", name="other"),
    ]


@pytest.mark.parametrize("mode", ["0400", "'0400'", "400", "0o400"])
def test_the_long_form_says_file_owner_and_an_octal_mode(mode: str) -> None:
    text = f"    - {{source: pass, target: /run/secrets/db, uid: '1000', gid: 100, mode: {mode}}}\n"
    found = mounted(service(text))[0]
    assert (found.secret_id, found.name, found.uid, found.gid) == ("pass", "db", "1000", "100")
    assert int(found.mode, 8) == 0o400


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ("    - past\n", 6, "did you mean pass?"),
        ("    - {target: x}\n", 6, "needs a source"),
        ("    - {source: pass, target: ../x}\n", 6, "target must be a file name"),
        ("    - {source: pass, uid: root}\n", 6, "uid must be a number"),
        ("    - {source: pass, mode: 0888}\n", 6, "mode must be octal"),
        ("    - {source: pass, modes: 1}\n", 6, "did you mean mode?"),
        ("    - pass\n    - {source: key, target: pass}\n", 6, "two secrets would be the file"),
        ("      pass: {}\n", 6, "must be a list"),
    ],
)
def test_a_mistake_in_a_service_is_shown_where_it_is(lines: str, line: int, words: str) -> None:
    errors = service(lines).errors
    assert [(e.line, words in e.message) for e in errors] == [(line, True)], errors


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{}", "needs external: true, or the file"),
        ("{external: true, file: x}", "remove one of the two"),
        ("{fill: x}", "did you mean file?"),
        ("text", "must be a mapping"),
    ],
)
def test_a_mistake_in_a_declaration_is_shown(entry: str, words: str) -> None:
    errors = service("    - pass\n", f"secrets:\n  pass: {entry}\n").errors
    assert any(words in e.message for e in errors), errors


def test_what_is_written_reads_the_same() -> None:
    before = service("    - other\n    - {source: pass, target: db, uid: '7', mode: 0400}\n")
    docker, rancher = dump(before.services)
    after = load(docker, rancher, stack_name="shop")
    told = [(r.secret_id, r.name, r.uid, r.gid, r.mode) for r in mounted(after)]
    assert told == [(r.secret_id, r.name, r.uid, r.gid, r.mode) for r in mounted(before)]
    assert all(s.external for s in after.secrets)


def test_a_later_file_replaces_a_declaration_and_adds_secrets() -> None:
    more = "services:\n  web:\n    secrets: [key]\nsecrets:\n  key: {external: true}\n"
    project = load(
        f"services:\n  web:\n    image: nginx\n    secrets: [pass]\n{SECTION}", overrides=[("more.yml", more)]
    )
    assert [r.name for r in mounted(project)] == ["pass", "key"]
    assert next(s for s in project.secrets if s.name == "key").external

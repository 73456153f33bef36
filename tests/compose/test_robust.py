"""Nothing that can be written makes reading fail; what is read can be written and read again."""

from __future__ import annotations

import time
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remuda.compose import ServiceSpec, dump, load
from remuda.compose.keys import KEYS

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["nginx", "80:80", "a:/b", "${X}", "${X:-", "db", "web", "512m", "never", "container:web", "-1"]),
)  # fmt: skip
keys = st.one_of(st.sampled_from(sorted(KEYS)), st.text(max_size=6))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)
service = st.dictionaries(keys, values, max_size=8)
files = st.dictionaries(st.sampled_from(["web", "db", "services", "volumes", "version"]), service | values, max_size=4)
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@relaxed
@given(st.text(), st.text())
def test_any_text_is_answered_with_problems(docker: str, rancher: str) -> None:
    project = load(docker, rancher)
    assert project.problems or project.services


@relaxed
@given(files, files, st.booleans())
def test_any_yaml_is_answered_with_problems_or_services(docker: Any, rancher: Any, sectioned: bool) -> None:
    if sectioned:
        docker = {"services": docker}
    project = load(yaml.safe_dump(docker), yaml.safe_dump(rancher), environment={"X": "1"})
    assert project.problems or project.services
    for problem in project.problems:
        assert problem.message
        assert problem.line >= 1


@relaxed
@given(st.lists(st.sampled_from("[]{}:,-&*!|>'\"%@`# \n\tabweb$${}?"), max_size=60).map("".join))
def test_yaml_punctuation_in_any_order_is_survived(text: str) -> None:
    load(text)
    load("services:\n  web:\n    image: x\n    command: " + text)


def test_bombs_are_refused_quickly() -> None:
    layers = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(10))
    before = time.monotonic()
    for text in (
        "[" * 100_000,
        "{a: " * 100_000,
        "a: &a [*a]\n",
        "a: &a [x,x]\n" + layers,
        "a: *nowhere",
        "x" * 3_000_000,
    ):
        assert not load(text).valid
    assert time.monotonic() - before < 5


words = st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@st.composite
def specs(draw: st.DrawFn) -> list[ServiceSpec]:
    """Services as :func:`load` gives them, made by reading a file that uses many keys."""
    document: dict[str, Any] = {}
    rancher: dict[str, Any] = {}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        document[name] = {
            "image": draw(st.sampled_from(["nginx", "a.b:5000/c/d:1.2", "x@sha256:" + "a" * 64])),
            "environment": draw(st.dictionaries(words, words.map(lambda w: w.replace("$", "$$")), max_size=3)),
            "labels": draw(st.dictionaries(words, words.map(lambda w: w.replace("$", "$$")), max_size=2)),
            "ports": draw(st.lists(st.sampled_from(["80", "8080:80", "127.0.0.1::5", "1-3:4-6/udp"]), unique=True)),
            "restart": draw(st.sampled_from(["no", "always", "on-failure:3"])),
            "command": draw(st.lists(words.map(lambda w: w.replace("$", "$$")), max_size=3)),
            "tmpfs": draw(st.lists(st.sampled_from(["/a", "/b:size=1m"]), unique=True)),
            "mem_limit": draw(st.integers(1, 1 << 40)),
            "privileged": draw(st.booleans()),
            "net": draw(st.sampled_from(["host", "bridge", "none"])),
            "stop_grace_period": draw(st.integers(1, 500)),
            "ulimits": {"nofile": {"soft": 1, "hard": draw(st.integers(1, 9))}},
            "logging": {"driver": "json-file", "options": {"max-size": "1m"}},
        }
        rancher[name] = {
            "scale": draw(st.integers(0, 9)),
            "metadata": draw(st.dictionaries(names, st.integers() | names, max_size=2)),
            "health_check": {"port": 80, "interval": draw(st.integers(1, 9))},
            "on_host_lost": draw(st.sampled_from(["never", "5s"])),
            "upgrade_strategy": {"batch_size": draw(st.integers(1, 5))},
        }
    project = load(yaml.safe_dump({"services": document}), yaml.safe_dump(rancher))
    assert project.valid, project.problems
    return project.services


@relaxed
@given(specs())
def test_what_is_written_reads_back_the_same(services: list[ServiceSpec]) -> None:
    again = load(*dump(services))
    assert again.valid, again.problems
    assert again.services == services


def test_sidekicks_links_and_networks_read_back_the_same() -> None:
    services = load(
        "app:\n  image: nginx\n  links: [db, 'db:d2']\n  external_links: ['s/x', 's/x:y']\n"
        "  labels: {io.rancher.sidekicks: log}\n  volumes_from: ['container:old']\n"
        "log:\n  image: b\n  net: 'container:app'\n  volumes_from: [app]\n  health_check: {port: 1}\n"
        "db:\n  image: mysql\n  command: ['$$HOME', 'yes', '22:22', '~', '']\n  start_on_create: false\n"
    ).services
    again = load(*dump(services))
    assert again.valid, again.problems
    assert again.services == services

"""Repositories of templates: what is found, what is asked, which version is meant, which may follow which."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.catalog.index import default, index, stack_files
from remuda.catalog.model import Question, Template
from remuda.catalog.questions import complete, problems
from remuda.catalog.versions import key, newer, offered, within

CONFIG = "name: Shop\nversion: v1.1.0\ncategory: Trade\ndescription: Sells\nlabels: {a: yes, b: 1.10}\n"
ASKED = """\
.catalog:
  name: Shop
  version: v1.1.0
  minimum_rancher_version: v1.2.0
  upgrade_from: '>=v1.0.0 <v1.1.0'
  questions:
  - {variable: PORT, type: int, default: 0644, required: true, min: 1, max: 65535}
  - {variable: TLS, type: boolean, default: yes}
  - {variable: LEVEL, type: enum, options: [low, 1.10], default: low}
  - {label: nothing to answer}
web: {scale: 2}
"""
FILES = {
    "README.md": "about",
    "templates/shop/config.yml": CONFIG,
    "templates/shop/catalogIcon-shop.svg": "<svg/>",
    "templates/shop/README.md": "Read",
    "templates/shop/0/docker-compose.yml": "web: {image: a}\n",
    "templates/shop/0/rancher-compose.yml": "catalog: {version: v1.0.0}\nversion: '2'\n",
    "templates/shop/1/docker-compose.yml": "",
    "templates/shop/1/docker-compose.yml.tpl": "web: {image: '{{.Values.I}}'}\n",
    "templates/shop/1/rancher-compose.yml": ASKED,
    "templates/shop/10/docker-compose.yml": "web: {image: c}\n",
    "templates/shop/10/Readme.md": "Ten",
    "templates/shop/notes/x.yml": "not a version",
    "infra-templates/net/config.yml": "name: Net\nversion: '3'\n",
    "infra-templates/net/v2.0.0/compose.yml": "services: {a: {image: a}}\n",
    "templates/broken/config.yml": "name: [\n",
    "templates/bare/0/docker-compose.yml": "a: {image: b}\n",
    "other/x/config.yml": "name: no\n",
}


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, Template], Any]:
    templates, findings = index("ours", FILES, FILES.__getitem__)
    return {template.id: template for template in templates}, findings


def test_templates_are_found_with_their_kind_and_place(found: Any) -> None:
    templates, _ = found
    assert set(templates) == {"ours:shop", "ours:infra*net"}
    shop = templates["ours:shop"]
    assert (shop.name, shop.category, shop.description, shop.labels) == (
        "Shop",
        "Trade",
        "Sells",
        {"a": "true", "b": "1.1"},
    )
    assert (shop.icon, shop.readme, shop.external_id) == ("catalogIcon-shop.svg", "README.md", "catalog://ours:shop")
    assert [version.revision for version in shop.versions] == ["0", "1", "10"]
    assert shop.versions[2].readme == "Readme.md"
    assert templates["ours:infra*net"].find("v2.0.0")


def test_what_cannot_be_read_is_told_and_spoils_nothing(found: Any) -> None:
    _, findings = found
    told = {finding.path: finding.message for finding in findings}
    assert set(told) == {"templates/broken", "templates/bare"}
    assert "config.yml" in told["templates/bare"]
    assert "not valid YAML" in told["templates/broken"]


def test_questions_have_answers_as_text(found: Any) -> None:
    version = found[0]["ours:shop"].find("1")
    assert [(one.variable, one.type, one.default, one.required) for one in version.questions] == [
        ("PORT", "int", "420", True), ("TLS", "boolean", "true", False), ("LEVEL", "enum", "low", False),
    ]  # fmt: skip
    assert version.questions[2].options == ["low", "1.1"]
    assert complete(version.questions, {"PORT": "80", "MORE": "x"}) == {
        "PORT": "80", "TLS": "true", "LEVEL": "low", "MORE": "x",
    }  # fmt: skip


def test_the_default_is_the_version_that_the_template_names_or_the_highest(found: Any) -> None:
    shop, net = found[0]["ours:shop"], found[0]["ours:infra*net"]
    assert default(shop, shop.versions) == shop.find("1")
    assert default(shop, [shop.versions[0], shop.versions[2]]) == shop.find("10")
    assert default(net, net.versions) == net.versions[0]
    assert default(net, []) is None


def test_the_files_of_a_version_are_those_that_say_something(found: Any) -> None:
    shop = found[0]["ours:shop"]
    name, text, rancher, _ = stack_files(shop.find("1"), FILES.__getitem__)
    assert (name, rancher) == ("docker-compose.yml.tpl", "rancher-compose.yml")
    assert ".Values.I" in text
    assert stack_files(shop.find("10"), FILES.__getitem__)[2:] == ("", "")


@pytest.mark.parametrize(
    ("question", "answer", "words"),
    [
        (Question(variable="v", required=True), "", "needed"),
        (Question(variable="v"), "", ""),
        (Question(variable="v", type="int"), "x", "whole number"),
        (Question(variable="v", type="int", min=1, max=9), "10", "1 to 9"),
        (Question(variable="v", type="int", min=1, max=9), "9", ""),
        (Question(variable="v", type="boolean"), "maybe", "true or false"),
        (Question(variable="v", type="boolean"), "True", ""),
        (Question(variable="v", type="enum", options=["a", "b"]), "c", "one of a, b"),
        (Question(variable="v", min_length=3), "ab", "at least 3"),
        (Question(variable="v", max_length=3), "abcd", "at most 3"),
        (Question(variable="v", valid_chars="a-z"), "aB", "'B'"),
        (Question(variable="v", invalid_chars="/"), "a/b", "'/'"),
        (Question(variable="v", invalid_chars="z-a"), "a", ""),
        (Question(variable="v", type="float"), "1.x", "number"),
    ],
)
def test_a_wrong_answer_is_told_in_a_sentence(question: Question, answer: str, words: str) -> None:
    message = problems([question], {"v": answer}).get("v", "")
    assert words in message
    assert bool(message) == bool(words)


def test_versions_are_ordered_as_people_mean_them() -> None:
    order = ["latest", "v0.9", "1.0.0-rc1", "1.0.0-rc2", "v1.0.0", "1.2.0", "1.10.0"]
    shuffled = [*order[3:], *order[:3]]
    assert sorted(shuffled, key=key) == order
    assert newer("v1.10.0", "1.9.9")
    assert not newer("v1.0", "1.0.0")


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("v0.3.0", "v0.2.0 || >v0.2.0", True), ("v0.2.0", "v0.2.0 || >v0.2.0", True), ("v0.1.0", "v0.2.0 || >v0.2.0", False),
        ("1.4.0", ">=1.2.0 <1.5.0", True), ("1.5.0", ">=1.2.0, <1.5.0", False), ("1.4.9", "~1.4.2", True),
        ("1.5.0", "~1.4.2", False), ("1.9.0", "^1.4.2", True), ("2.0.0", "^1.4.2", False), ("1.0.0", "*", True),
        ("1.0.0", "nonsense", False), ("1.0.0", "", False), ("1.0.0", "!=1.0.0", False),
    ],
)  # fmt: skip
def test_ranges_hold_versions(version: str, wanted: str, expected: bool) -> None:
    assert within(version, wanted) is expected


def test_servers_are_offered_what_is_meant_for_them() -> None:
    assert offered("v1.6.30", "v1.2.0", "")
    assert not offered("v1.6.30", "v1.2.0", "v1.5.99")
    assert not offered("v1.6.30", "v2.0.0-rc1", "")
    assert offered("v1.6.30", "", "v1.6.99")

"""Every complaint names its place and says what to do."""

from __future__ import annotations

import pytest

from remuda.compose import load


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("web:\n  image: nginx\n  imgae: x\n", (3, 3), "did you mean image"),
        ("services:\n  web:\n    image: nginx\n    ports: ['80:99999']\n", (4, 13), "between 1 and 65535"),
        ("services:\n  web:\n    build: .\n", (3, 5), "push it to a registry"),
        ("services:\n  web:\n    image: Nginx:1\n", (3, 12), "lower case"),
        ("services:\n  web:\n    image: nginx\n    volumes:\n      - ./data:/data\n", (5, 9), "named volume"),
        ("services:\n  web:\n    image: nginx\n    env_file: a.env\n", (4, 15), "remuda up"),
        (
            "services:\n  web:\n    image: nginx\n    depends_on: [databse]\n  database:\n    image: x\n",
            (4, 18),
            "did you mean database",
        ),
        ("services:\n  web:\n    image: nginx\n    scale: many\n", (4, 12), "whole number"),
        ('services:\n  web:\n    image: nginx\n    command: "a \'b"\n', (4, 14), "split into words"),
        ("services:\n  web:\n    image: nginx\n    restart: often\n", (4, 14), "unless-stopped"),
        ("services:\n  web:\n    image: nginx\n    mem_limit: much\n", (4, 16), "512m"),
        ("services:\n  web:\n    image: nginx\n    health_check: {interval: 1}\n", (4, 19), "needs a port"),
        ("services:\n  web:\n    image: nginx\n    network_mode: service:db\n  db: {image: x}\n", (4, 19), "sidekicks"),
        ("services:\n  web:\n    image: 'nginx:${TAG:?say which}'\n", (3, 19), "say which"),
        ("services:\n  web:\n    image: nginx\n   ports: []\n", (4, 4), "not valid YAML"),
        ("servces:\n  web: {image: x}\nvolumes: {}\n", (1, 1), "did you mean services"),
        ("services:\n  a b: {image: x}\n", (2, 3), "cannot be a service's name"),
        ("services:\n  web:\n", (2, 3), "has no image"),
        ("", (1, 1), "nothing to run"),
        ("include: [x.yml]\nservices:\n  web: {image: x}\n", (1, 1), "include is not supported"),
    ],
)
def test_an_error_points_at_the_line_and_says_what_to_do(text: str, place: tuple[int, int], words: str) -> None:
    project = load(text)
    found = [p for p in project.errors if words in p.message]
    assert found, [str(p) for p in project.problems]
    assert (found[0].line, found[0].column) == place
    assert found[0].file == "docker-compose.yml"
    assert not project.valid


def test_a_problem_in_rancher_compose_points_into_that_file() -> None:
    project = load("web:\n  image: nginx\n", "web:\n  scal: 2\n")
    (problem,) = project.errors
    assert (problem.file, problem.line, problem.column, problem.field) == ("rancher-compose.yml", 2, 3, "web.scal")
    assert str(problem) == "rancher-compose.yml:2:3: error: scal is not a setting of a service; did you mean scale?"


def test_unsupported_keys_of_the_specification_are_warnings() -> None:
    project = load("services:\n  web:\n    image: nginx\n    networks: [a]\n    platform: linux\nnetworks:\n  a: {}\n")
    assert project.valid
    assert len(project.problems) == 3
    assert all("ignored" in p.message for p in project.problems)


def test_a_key_given_twice_warns_and_the_last_one_wins() -> None:
    project = load("web:\n  image: a\n  image: b\n")
    assert project.valid
    assert project.services[0].launch_config.image == "b"
    assert "twice" in project.problems[0].message
    assert project.problems[0].line == 3


def test_services_that_wait_for_each_other_are_refused() -> None:
    project = load("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n")
    assert "a -> b -> a" in project.errors[0].message


def test_a_service_only_in_rancher_compose_is_left_out_with_a_warning() -> None:
    project = load("web:\n  image: nginx\n", "web:\n  scale: 2\nlb:\n  scale: 1\n")
    assert project.valid
    assert [s.name for s in project.services] == ["web"]
    assert "left out" in project.problems[0].message


def test_a_service_behind_a_profile_is_left_out_until_asked_for() -> None:
    text = "services:\n  web: {image: nginx}\n  debug: {image: busybox, profiles: [dev]}\n"
    assert [s.name for s in load(text).services] == ["web"]
    assert [s.name for s in load(text, environment={"COMPOSE_PROFILES": "dev"}).services] == ["web", "debug"]

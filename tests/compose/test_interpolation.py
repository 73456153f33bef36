"""Variables in compose files."""

from __future__ import annotations

import pytest

from remuda.compose import load


@pytest.mark.parametrize(
    ("written", "result"),
    [
        ("$SET", "yes"),
        ("${SET}", "yes"),
        ("a${SET}b$SET", "ayesbyes"),
        ("$$SET $${SET}", "$SET ${SET}"),
        ("${UNSET:-d}", "d"),
        ("${UNSET-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${SET:-d}", "yes"),
        ("${SET:+other}", "other"),
        ("${UNSET:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("${EMPTY:+other}", ""),
        ("${SET:?needed}", "yes"),
        ("${EMPTY?needed}", ""),
        ("${UNSET:-${ALSO:-$SET}}", "yes"),
        ("${UNSET:-a}b}", "ab}"),
        ("${UNSET:-}", ""),
        ("no dollars", "no dollars"),
    ],
)
def test_a_variable_becomes_this(written: str, result: str) -> None:
    project = load(f"web:\n  image: x\n  environment:\n    A: '{written}'\n", environment={"SET": "yes", "EMPTY": ""})
    assert project.valid, project.problems
    assert project.services[0].launch_config.environment["A"] == result


@pytest.mark.parametrize("written", ["$1", "${}", "${A", "$", "${A!b}", "${UNSET:?}", "${UNSET?why}", "${A:-${B}"])
def test_what_is_no_variable_is_refused(written: str) -> None:
    project = load(f"web:\n  image: x\n  hostname: 'a{written}'\n")
    assert not project.valid
    assert (project.errors[0].line, project.errors[0].column) == (3, 15)


def test_an_unset_variable_warns_once_per_place_and_counts_as_empty() -> None:
    project = load("web:\n  image: x\n  environment: {A: 'x$NOPE', B: '$NOPE'}\n")
    assert project.valid
    assert project.services[0].launch_config.environment == {"A": "x", "B": ""}
    assert [p.column for p in project.problems] == [22, 34]


def test_variables_are_filled_in_before_values_are_judged() -> None:
    project = load(
        "web:\n  image: x\n  ports: ['${P}:80']\n", "web:\n  scale: ${N}\n", environment={"P": "81", "N": "4"}
    )
    assert project.valid, project.problems
    assert project.services[0].scale == 4
    assert project.services[0].launch_config.ports == ["81:80/tcp"]


def test_keys_are_left_alone_and_the_names_that_were_asked_for_are_told() -> None:
    project = load(
        "web:\n  image: x\n  labels: {'$A': b}\n  environment: ['TOKEN', 'B=${C:-1}']\n", environment={"TOKEN": "t"}
    )
    assert project.services[0].launch_config.labels == {"$A": "b"}
    assert project.services[0].launch_config.environment == {"TOKEN": "t", "B": "1"}
    assert set(project.variables) == {"TOKEN", "C"}


def test_macros_of_the_scheduler_stay_for_the_scheduler() -> None:
    label = "io.rancher.scheduler.affinity:container_label_ne"
    project = load(f"web:\n  image: x\n  labels:\n    {label}: a=$${{stack_name}}/$${{service_name}}\n")
    assert project.services[0].launch_config.labels[label] == "a=${stack_name}/${service_name}"

"""Who may talk to whom: the rules as tables, and the loaded filter held against them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.model import Between, PolicyRule, Port, ServiceLink
from remuda.core.network.explain import explain, sentence
from remuda.core.network.policy import Policy
from remuda.core.network.ruleset import render, render_guard, wanted
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork, SceneService, SceneStack

HOSTS = {1: SceneHost(id=1, name="h1", ip="10.42.0.2", connected=True), 2: SceneHost(id=2, name="h2", ip="10.42.0.3")}
SERVICES = {
    1: SceneService(id=1, name="web", stack_id=1, links=[ServiceLink(2, "db")]),
    2: SceneService(id=2, name="db", stack_id=1),
    3: SceneService(id=3, name="web", stack_id=2),
}
STACKS = {1: SceneStack(id=1, name="shop"), 2: SceneStack(id=2, name="blog")}


def container(
    number: int, service: int | None, host: int = 1, team: str = "", *, system: bool = False
) -> SceneContainer:
    return SceneContainer(
        id=number, uuid=f"c{number}", name=f"c{number}", service_id=service, host_id=host, ip=f"10.42.1.{number}",
        stack_id=SERVICES[service].stack_id if service else None, state="running", labels={"team": team} if team else {},
        system=system,
    )  # fmt: skip


WEB, WEB2, DB, BLOG = container(1, 1, team="a"), container(2, 1, 2), container(3, 2, team="b"), container(4, 3, 2, "a")
LOOSE, SYSTEM = container(5, None), container(6, None, 2, system=True)
ALL = (WEB, WEB2, DB, BLOG, LOOSE, SYSTEM)


def scene(default: str, *rules: PolicyRule) -> Scene:
    network = SceneNetwork(default_policy=default, policy=list(rules))
    return Scene(network=network, hosts=HOSTS, stacks=STACKS, services=SERVICES, containers={c.id: c for c in ALL})


def within(what: str, action: str = "allow") -> PolicyRule:
    return PolicyRule(action=action, within=what)


def between(label: str, action: str = "allow") -> PolicyRule:
    return PolicyRule(action=action, between=Between(label))


@pytest.mark.parametrize(
    ("policy", "source", "target", "passes"),
    [
        (("allow",), WEB, BLOG, True),
        (("deny",), WEB, DB, False),
        (("deny", within("stack")), WEB, DB, True),
        (("deny", within("stack")), WEB, BLOG, False),
        (("deny", within("stack")), LOOSE, LOOSE, False),
        (("deny", within("service")), WEB, WEB2, True),
        (("deny", within("service")), WEB, DB, False),
        (("deny", within("linked")), WEB, DB, True),
        (("deny", within("linked")), DB, WEB, False),
        (("deny", between("team")), WEB, BLOG, True),
        (("deny", between("team")), WEB, DB, False),
        (("allow", within("stack", "deny")), WEB, DB, False),
        (("deny", within("service", "deny"), within("stack")), WEB, WEB2, False),
        (("deny",), SYSTEM, WEB, True),
        (("deny",), WEB, SYSTEM, True),
    ],
)
def test_the_first_rule_that_fits_decides(
    policy: tuple[str, *tuple[PolicyRule, ...]], source: SceneContainer, target: SceneContainer, passes: bool
) -> None:
    answer = Policy(scene(*policy)).verdict(source, target)
    assert answer.allowed is passes
    assert answer.because


RULES = st.lists(
    st.one_of(
        st.builds(within, st.sampled_from(["stack", "service", "linked"]), st.sampled_from(["allow", "deny"])),
        st.builds(between, st.sampled_from(["team", "tier"]), st.sampled_from(["allow", "deny"])),
    ),
    max_size=4,
)


@given(st.sampled_from(["allow", "deny"]), RULES)
def test_what_is_loaded_does_what_the_rules_say(default: str, rules: list[PolicyRule]) -> None:
    made = Policy(scene(default, *rules))
    for host in HOSTS:
        loaded = made.compile(host)
        for source in ALL:
            for target in ALL:
                if target.host_id != host or source is target:
                    continue
                passes = True if loaded is None else loaded.passes(source.ip, target.ip)
                assert passes == made.verdict(source, target).allowed


SERVICE_NUMBERS = st.sampled_from([None, 1, 2, 3])
CONTAINERS = st.lists(
    st.tuples(SERVICE_NUMBERS, st.sampled_from([1, 2]), st.sampled_from(["", "a", "b"]), st.integers(0, 9)), max_size=7
)  # fmt: skip


@given(CONTAINERS, st.sampled_from(["allow", "deny"]), RULES)
def test_it_does_so_in_any_scene(
    made_of: list[tuple[int | None, int, str, int]], default: str, rules: list[PolicyRule]
) -> None:
    ones = [container(n, s, h, team, system=luck == 0) for n, (s, h, team, luck) in enumerate(made_of, 1)]
    network = SceneNetwork(default_policy=default, policy=rules)
    policy = Policy(
        Scene(network=network, hosts=HOSTS, stacks=STACKS, services=SERVICES, containers={c.id: c for c in ones})
    )
    for target in ones:
        loaded = policy.compile(target.host_id or 0)
        for source in ones:
            if source is not target:
                passes = loaded is None or loaded.passes(source.ip, target.ip)
                assert passes == policy.verdict(source, target).allowed


def test_labels_that_look_alike_are_groups_of_their_own() -> None:
    one = msgspec.structs.replace(WEB, labels={"team": "a=b"})
    two = msgspec.structs.replace(WEB2, labels={"team=a": "b"}, host_id=1)
    network = SceneNetwork(default_policy="deny", policy=[between("team"), between("team=a")])
    loaded = Policy(Scene(network=network, hosts=HOSTS, containers={1: one, 2: two})).compile(1)
    assert loaded is not None
    assert not loaded.passes(one.ip, two.ip)
    assert len(loaded.sets) == 2


def test_a_host_lets_containers_send_only_under_their_own_addresses() -> None:
    rules = wanted(scene("deny"), 1, "br")
    assert rules is not None
    text = render_guard(rules, "overlay0")
    assert "02:42:0a:2a:01:01 . 10.42.1.1" in text
    assert "10.42.1.2" not in text, "its own host answers for that one"
    free = wanted(scene("allow"), 1, "br")
    assert free is not None
    assert "chain" not in render_guard(free, "overlay0")


def test_hosts_may_always_probe() -> None:
    loaded = Policy(scene("deny")).compile(1)
    assert loaded is not None
    assert loaded.passes("10.42.0.3", WEB.ip)


def test_without_a_policy_nothing_is_loaded() -> None:
    assert Policy(scene("allow")).compile(1) is None
    rules = wanted(scene("allow"), 1, "br")
    assert rules is not None
    assert "chain guarded" not in render(rules)


def test_a_denied_packet_is_explained_by_its_rule() -> None:
    steps = explain(scene("deny", within("stack")), WEB, BLOG)
    assert "default is deny" in sentence(steps)
    assert sentence(explain(scene("deny", within("stack")), WEB, DB)) == "Nothing stands in the way"


def test_a_port_is_part_of_the_way() -> None:
    web = msgspec.structs.replace(WEB, ports=[Port(80, 8080, bind="192.0.2.1")])
    said = [step.text for step in explain(scene("allow"), BLOG, web, port=8080)]
    assert "port 8080/tcp of 192.0.2.1 leads to port 80 of c1" in said
    said = [step.text for step in explain(scene("allow"), BLOG, web, port=99)]
    assert any("publishes no port 99" in text for text in said)


def test_what_a_host_says_of_its_network_stands_in_the_way() -> None:
    steps = explain(scene("allow"), BLOG, WEB, troubles={1: "strongSwan is not installed"})
    assert sentence(steps) == "It does not pass: the network of host h1 is in error: strongSwan is not installed"

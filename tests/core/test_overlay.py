"""What a host's kernel must know of other hosts' containers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remuda.core.network.addressing import mac_of
from remuda.core.network.overlay import Tables, difference, endpoint, holders, wanted
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork


def host(number: int, **rest: object) -> SceneHost:
    values: dict[str, object] = {
        "agent_ip": f"192.0.2.{number}",
        "ip": f"10.42.0.{number + 1}",
        "tunnel": f"169.254.64.{number}",
        **rest,
    }
    return SceneHost(id=number, name=f"h{number}", **values)  # type: ignore[arg-type]


def container(number: int, where: int | None, ip: str, **rest: object) -> SceneContainer:
    values: dict[str, object] = {"state": "running", "mac": mac_of(ip) if ip else "", **rest}
    return SceneContainer(id=number, uuid=f"c{number}", host_id=where, ip=ip, **values)  # type: ignore[arg-type]


def scene(*containers: SceneContainer, encryption: str = "plain", hosts: tuple[SceneHost, ...] = ()) -> Scene:
    return Scene(
        network=SceneNetwork(encryption=encryption),
        hosts={h.id: h for h in hosts or (host(1), host(2), host(3))},
        containers={c.id: c for c in containers},
    )


def test_other_hosts_and_their_containers_have_an_entry_each() -> None:
    tables = wanted(scene(container(1, 1, "10.42.1.1"), container(2, 2, "10.42.1.2")), 1)
    assert tables.forwarding == {
        mac_of("10.42.0.3"): "192.0.2.2",
        mac_of("10.42.0.4"): "192.0.2.3",
        mac_of("10.42.1.2"): "192.0.2.2",
    }
    assert tables.neighbours["10.42.1.2"] == mac_of("10.42.1.2")
    assert "10.42.1.1" not in tables.neighbours, "own containers answer for themselves"


def test_encrypted_packets_go_into_the_tunnel() -> None:
    there = scene(container(2, 2, "10.42.1.2"), encryption="ipsec")
    assert wanted(there, 1).forwarding[mac_of("10.42.1.2")] == "169.254.64.2"
    assert endpoint(scene(), host(2)) == "192.0.2.2"
    assert endpoint(Scene(), host(2)) == "169.254.64.2", "nothing leaves in plain before it is known to be wanted"


def test_a_host_without_a_way_has_no_entries() -> None:
    no_way = (host(1), host(2, tunnel=""))
    assert wanted(scene(container(2, 2, "10.42.1.2"), encryption="ipsec", hosts=no_way), 1) == Tables({}, {})


def test_containers_of_a_host_whose_agent_is_dead_stay_reachable() -> None:
    there = (container(2, 2, "10.42.1.2"),)
    given_up = (host(1), host(2, lost=True), host(3))
    assert wanted(scene(*there, hosts=given_up), 1) == wanted(scene(*there, hosts=(host(1), host(2), host(3))), 1)


def test_containers_without_address_or_place_have_no_entries() -> None:
    assert wanted(
        scene(container(1, 2, ""), container(2, None, "10.42.1.2"), container(3, 9, "10.42.1.3")), 1
    ) == wanted(scene(), 1)


def test_an_address_on_two_hosts_belongs_to_the_one_that_lives() -> None:
    old, new = container(1, 3, "10.42.1.1", state="stopping"), container(2, 2, "10.42.1.1", state="starting")
    assert wanted(scene(old, new), 1).forwarding[mac_of("10.42.1.1")] == "192.0.2.2"
    assert holders(scene(new, old))["10.42.1.1"] is new
    gone = (host(1), host(2), host(3, lost=True))
    running_on_lost = container(3, 3, "10.42.1.1", state="running")
    stopped = container(2, 2, "10.42.1.1", state="stopped")
    assert holders(scene(stopped, running_on_lost, hosts=gone))["10.42.1.1"] is stopped


def test_a_container_that_moved_is_one_replacement() -> None:
    before, after = wanted(scene(container(1, 2, "10.42.1.1")), 1), wanted(scene(container(1, 3, "10.42.1.1")), 1)
    changes = difference(before, after)
    assert changes.put == Tables({mac_of("10.42.1.1"): "192.0.2.3"}, {})
    assert changes.drop == Tables({}, {})
    assert changes.count == 1


def test_a_container_that_comes_home_loses_its_entries() -> None:
    changes = difference(wanted(scene(container(1, 2, "10.42.1.1")), 1), wanted(scene(container(1, 1, "10.42.1.1")), 1))
    assert set(changes.drop.forwarding) == {mac_of("10.42.1.1")}
    assert set(changes.drop.neighbours) == {"10.42.1.1"}
    assert not changes.put.forwarding


places = st.dictionaries(
    st.integers(1, 30),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.sampled_from(["running", "stopped"])),
    max_size=20,
)


def picture(found: dict[int, tuple[int, int, str]]) -> Scene:
    return scene(*(container(n, where, f"10.42.1.{last}", state=state) for n, (where, last, state) in found.items()))


@given(places, places, st.integers(1, 3))
def test_the_difference_leads_from_any_tables_to_any_others(
    first: dict[int, tuple[int, int, str]], second: dict[int, tuple[int, int, str]], own: int
) -> None:
    now, then = wanted(picture(first), own), wanted(picture(second), own)
    changes = difference(now, then)
    applied = Tables(
        {k: v for k, v in {**now.forwarding, **changes.put.forwarding}.items() if k not in changes.drop.forwarding},
        {k: v for k, v in {**now.neighbours, **changes.put.neighbours}.items() if k not in changes.drop.neighbours},
    )
    assert applied == then
    assert difference(then, then).empty
    assert not changes.put.forwarding.keys() & changes.drop.forwarding.keys()


@given(places, st.integers(1, 3))
def test_each_address_is_at_one_place_and_hosts_agree(found: dict[int, tuple[int, int, str]], own: int) -> None:
    there = picture(found)
    for address, mac in wanted(there, own).neighbours.items():
        for other in there.hosts:
            seen = wanted(there, other).forwarding
            if mac in seen:
                assert seen[mac] == wanted(there, own).forwarding[mac], address

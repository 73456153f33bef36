"""One network over several real hosts: names, addresses, modes, and what happens when hosts, agents and servers go away.

The tests share one platform and run in order, from the gentle to the rough; each leaves all hosts up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testbed.bed import Bed, X, until
from testbed.platform import CLIENT_IMAGE, PROJECT, Platform, platform, status_of

pytestmark = [pytest.mark.bed, pytest.mark.timeout(300)]
HOSTS = 3
SHOP = """\
version: '2'
services:
  web:
    image: local/client:1
    labels: {role: web}
  page:
    image: local/client:1
    labels:
      io.rancher.sidekicks: cache
  cache:
    image: local/client:1
    environment: {PORT: '81'}
  client:
    image: local/client:1
    command: sleep 1000000
    stop_signal: SIGKILL
    links: ['web:shopfront']
    labels:
      io.rancher.scheduler.global: 'true'
  alias:
    image: rancher/dns-service
    links: [web]
  beyond:
    image: rancher/external-service
  elsewhere:
    image: rancher/external-service
  plain:
    image: local/client:1
    network_mode: host
    command: sleep 1000000
    stop_signal: SIGKILL
    labels:
      io.rancher.container.dns: 'true'
"""
SHOP_RANCHER = """\
version: '2'
services:
  web: {scale: 3, retain_ip: true}
  page: {scale: 1}
  beyond: {external_ips: ['192.0.2.7', '192.0.2.8']}
  elsewhere: {hostname: example.test}
"""
OTHER = """\
version: '2'
services:
  web:
    image: local/client:1
  guest:
    image: local/client:1
    command: sleep 1000000
    stop_signal: SIGKILL
"""


@pytest.fixture(scope="module")
def place(clients: str) -> Iterator[Platform]:
    with (
        Bed(HOSTS, name="tnet", net="10.77.8", images=("local/busybox:1", CLIENT_IMAGE)) as bed,
        platform(bed) as running,
    ):
        running.wait_hosts()
        running.shop = running.stack("shop", SHOP, SHOP_RANCHER)  # type: ignore[attr-defined]
        running.other = running.stack("other", OTHER)  # type: ignore[attr-defined]
        yield running


def client_on(place: Platform, host: int) -> str:
    """Docker's id of the shop's client on a host."""
    found = place.bed.containers(host, **{"io.rancher.stack_service.name": "shop/client"})
    return str(found[0]["Id"])


def resolve(place: Platform, host: int, name: str) -> set[str]:
    """Addresses that a program in the shop's client gets for a name."""
    said = place.inside(host, client_on(place, host), "getent", "ahostsv4", name, check=False)
    return {line.split()[0] for line in said.splitlines() if line.strip()}


def leads(place: Platform, host: int, name: str, wanted: set[str]) -> None:
    """Wait until a name leads to exactly these addresses: hosts hear of a change within a second, on a machine with time."""
    until(f"{name} on h{host} leads to {wanted}", lambda: resolve(place, host, name) == wanted, 20)


def addresses(place: Platform, stack: str, service: str) -> set[str]:
    shown = place.service(getattr(place, stack), service)
    return {c["primaryIpAddress"] for c in place.containers(shown)}


def web_on(place: Platform, host: int) -> str:
    """The address of a container of the shop's web on a host."""
    for container in place.containers(place.service(place.shop, "web")):  # type: ignore[attr-defined]
        if place.host_of(container) == host:
            return str(container["primaryIpAddress"])
    raise AssertionError(f"no web on h{host}")


def serving(place: Platform, host: int, url: str) -> set[str]:
    """Host names of the containers that answer, over several requests."""
    container = client_on(place, host)
    said = place.inside(
        host, container, "sh", "-c", f"for n in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s -m 3 {url}; done", check=False
    )
    return {line.removeprefix("hello from ") for line in said.splitlines() if line.startswith("hello from ")}


def unanswered(place: Platform, host: int, url: str, seconds: float) -> list[str]:
    """Requests from the shop's client on a host that got no answer, made without a pause for so long."""
    script = f"end=$(($(date +%s)+{seconds:.0f})); while [ $(date +%s) -lt $end ]; do curl -s -m 3 {url} || echo failed $?; done"
    said = place.inside(host, client_on(place, host), "sh", "-c", script, check=False, timeout=seconds + 30)
    lines = said.splitlines()
    assert len(lines) > seconds, "next to nothing was asked"
    return [line for line in lines if not line.startswith("hello from ")]


def test_services_reach_each_other_by_name_across_hosts(place: Platform) -> None:
    web = addresses(place, "shop", "web")
    assert len(web) == 3
    for host in place.hosts:
        for name in ("web", "web.shop", "web.shop.rancher.internal"):
            leads(place, host, name, web)
        # each request asks in shuffled order, so that twelve of them may well leave one out
        until(f"all answer h{host}", lambda host=host: len(serving(place, host, "http://web/")) == 3, 30)


def test_the_same_name_in_another_stack_is_another_service(place: Platform) -> None:
    leads(place, 1, "web.other", addresses(place, "other", "web"))
    leads(place, 1, "web", addresses(place, "shop", "web"))
    guest = place.bed.containers(
        place.host_of(place.containers(place.service(place.other, "guest"))[0]),  # type: ignore[attr-defined]
        **{"io.rancher.stack_service.name": "other/guest"},
    )
    assert guest


@pytest.mark.parametrize("name", ["shopfront", "alias", "alias.shop"])
def test_links_and_aliases_are_names_of_their_targets(place: Platform, name: str) -> None:
    leads(place, 2, name, addresses(place, "shop", "web"))


def test_containers_have_names_everywhere(place: Platform) -> None:
    for container in place.containers(place.service(place.shop, "web")):  # type: ignore[attr-defined]
        leads(place, 3, container["name"], {container["primaryIpAddress"]})
        leads(place, 3, container["name"] + ".rancher.internal", {container["primaryIpAddress"]})


def test_sidekicks_have_names_from_outside_and_within(place: Platform) -> None:
    page = place.service(place.shop, "page")  # type: ignore[attr-defined]
    by_launch = {c["name"]: c for c in place.containers(page)}
    sidekick = next(c for name, c in by_launch.items() if "cache" in name)
    leads(place, 1, "cache.page", {sidekick["primaryIpAddress"]})
    primary = next(c for name, c in by_launch.items() if "cache" not in name)
    host = place.host_of(primary)
    until("the sidekick answers", lambda: "hello" in place.curl(host, primary["externalId"], "http://cache:81/"), 20)


def test_external_services_answer_with_their_addresses_or_name(place: Platform) -> None:
    leads(place, 1, "beyond", {"192.0.2.7", "192.0.2.8"})
    said = place.inside(
        1, client_on(place, 1), "dig", "+short", "elsewhere.shop.rancher.internal", "CNAME", check=False
    )
    assert "example.test." in said


def test_a_container_in_host_mode_is_known_by_its_hosts_address(place: Platform) -> None:
    container = place.containers(place.service(place.shop, "plain"))[0]  # type: ignore[attr-defined]
    leads(place, 1, "plain", {place.bed.ip(place.host_of(container))})


def test_metadata_tells_a_container_of_itself(place: Platform) -> None:
    container = client_on(place, 1)
    base = "http://rancher-metadata/2015-12-19"
    assert place.curl(1, container, f"{base}/self/service/name") == "client"
    assert place.curl(1, container, f"{base}/self/stack/name") == "shop"
    assert "web" in place.curl(1, container, f"{base}/self/service/links")
    listed = place.curl(1, container, f"{base}/stacks/shop/services/web/containers/0/primary_ip")
    assert listed in addresses(place, "shop", "web")


def test_modes_are_what_docker_calls_them(place: Platform) -> None:
    made = place.stack("modes", """\
version: '2'
services:
  none: {image: 'local/client:1', network_mode: none}
  bridged: {image: 'local/client:1', network_mode: bridge}
  pair:
    image: local/client:1
    labels: {io.rancher.sidekicks: shares}
  shares:
    image: local/client:1
    network_mode: 'container:pair'
    command: sleep 1000000
    stop_signal: SIGKILL
""")  # fmt: skip
    found = {c["name"].removeprefix("modes_"): c for c in place.containers() if c["name"].startswith("modes_")}

    def links(name: str) -> str:
        return place.inside(place.host_of(found[name]), found[name]["externalId"], "ip", "-o", "-4", "addr")

    assert "eth0" not in links("none_1")
    assert "10.42." not in links("bridged_1")
    assert found["pair_1"]["primaryIpAddress"] in links("pair_1")
    sharing = next(c for name, c in found.items() if "shares" in name)
    said = place.inside(place.host_of(sharing), sharing["externalId"], "ip", "-o", "-4", "addr")
    assert found["pair_1"]["primaryIpAddress"] in said
    within, own = place.host_of(sharing), sharing["externalId"]
    until("what it shares answers", lambda: "hello from" in place.curl(within, own, "http://127.0.0.1/"), 20)
    place.api.call("DELETE", f"{PROJECT}/environments/{made['id']}")


def test_a_container_started_by_hand_joins_when_it_asks(place: Platform) -> None:
    bed = place.bed
    bed.docker(2, "run", "-d", "--name", "byhand", "--label", "io.rancher.container.network=true", CLIENT_IMAGE)

    def joined() -> str:
        shown = [c for c in place.containers() if c["name"] == "byhand"]
        return str(shown[0]["primaryIpAddress"]) if shown and shown[0]["primaryIpAddress"].startswith("10.42.") else ""

    address = until("it has an address", joined, 20)
    until("it answers across hosts", lambda: "hello" in place.curl(1, client_on(place, 1), f"http://{address}/"), 20)
    until("it has a name", lambda: resolve(place, 3, "byhand") == {address}, 20)
    bed.docker(2, "rm", "-f", "byhand")
    until("its name is gone", lambda: not resolve(place, 3, "byhand"), 20)


def test_only_encrypted_packets_leave_a_host(place: Platform) -> None:
    bed = place.bed
    log = bed.spawn(1, "capture", "timeout", "8", "tcpdump", "-n", "-i", "eth0", "-l", "host", bed.ip(2))
    until("the capture listens", lambda: "listening" in log.read_text(), 20)
    assert not unanswered(place, 1, "http://web/", 4)
    until("packets were seen", lambda: ".4500" in log.read_text(), 20)
    seen = [line for line in log.read_text().splitlines() if " IP " in line and bed.ip(2) in line]
    plain = [line for line in seen if ".4500 " not in line and ".4500:" not in line and ".500 " not in line]
    assert seen
    assert not plain, plain[:5]


def test_an_agent_that_dies_takes_nothing_with_it(place: Platform) -> None:
    before = picture(place)
    place.stop_agent(2)
    try:
        assert not unanswered(place, 2, "http://web.shop.rancher.internal/", 4)
        assert resolve(place, 2, "web.other")
        until(
            "servers gave the host up",
            lambda: "disconnected" in {h["state"] for h in place.api.all(f"{PROJECT}/hosts")},
            30,
        )
        assert picture(place) == before, "it keeps its network all the same"
    finally:
        place.start_agent(2)
    place.wait_hosts()
    until("nothing was rebuilt that was right", lambda: picture(place) == before, 20)


def picture(place: Platform) -> dict[int, object]:
    """What must not be touched by an agent's return: containers and when they started, the bridge's tables, the service's pid."""
    found: dict[int, object] = {}
    for host in place.hosts:
        started = sorted(
            (c["Id"], place.bed.api(host, f"/containers/{c['Id']}/json")["State"]["StartedAt"])
            for c in place.bed.containers(host)
        )
        table = sorted(place.bed.exec(host, "bridge", "fdb", "show", "dev", "remuda1").split("\n"))
        found[host] = (started, table, status_of(place.bed, host).get("pid"))
    return found


def test_hosts_go_on_without_a_server(place: Platform) -> None:
    bed = place.bed
    place.stop_server()
    try:
        assert not unanswered(place, 1, "http://alias/", 6)
        place.stop_agent(3)
        place.start_agent(3)
        victim = bed.containers(1, **{"io.rancher.stack_service.name": "shop/web"})[0]["Id"]
        bed.docker(1, "kill", victim)
        until("what ended runs again", lambda: bed.containers(1, **{"io.rancher.stack_service.name": "shop/web"}), 20)
        until("and answers", lambda: len(serving(place, 3, "http://web/")) == 3, 30)
        assert not unanswered(place, 3, "http://web/", 4)
    finally:
        place.start_server()
    place.wait_hosts()


def test_a_host_that_is_cut_off_and_healed_is_reachable_again(place: Platform) -> None:
    clients = {place.host_of(c): c for c in place.containers(place.service(place.shop, "client"))}  # type: ignore[attr-defined]
    place.bed.cut(3)
    try:
        assert not place.inside(
            1, client_on(place, 1), "ping", "-c1", "-W1", clients[3]["primaryIpAddress"], check=False
        ).count("1 packets received")
        assert not unanswered(place, 1, f"http://{web_on(place, 1)}/", 2)
    finally:
        place.bed.heal(3)
    until(
        "traffic to and from the host flows again",
        lambda: "hello" in place.curl(3, client_on(place, 3), "http://web/"),
        30,
    )
    place.wait_hosts()


def test_an_address_that_is_kept_is_taken_over_when_its_host_loses_power(place: Platform) -> None:
    web = place.service(place.shop, "web")  # type: ignore[attr-defined]
    before = {c["name"]: c["primaryIpAddress"] for c in place.containers(web)}
    place.api.call("PUT", f"{PROJECT}/services/{web['id']}", {"onHostLost": 0})
    place.bed.kill(3)

    def moved() -> bool:
        rows = place.containers(web)
        return len(rows) == 3 and all(place.host_of(c) != 3 for c in rows)

    until("its containers run elsewhere", moved, 40)
    assert {c["name"]: c["primaryIpAddress"] for c in place.containers(web)} == before
    until("and answer there", lambda: len(serving(place, 1, "http://web/")) == 3, 30)
    place.bed.boot(3)
    place.start_agent(3)
    place.wait_hosts(90)
    until("also from the host that came back", lambda: len(serving(place, 3, "http://web/")) == 3, 30)


def test_the_key_is_rotated_under_an_open_connection(place: Platform) -> None:
    web = next(c for c in place.containers(place.service(place.shop, "web")) if place.host_of(c) != 1)  # type: ignore[attr-defined]
    client = client_on(place, 1)
    host = place.host_of(web)
    place.bed.docker(host, "exec", "-d", web["externalId"], "iperf3", "-s", "-p", "5999")
    # small blocks: with those that iperf3 takes by itself, one second's share at this rate is a single one
    pace = ("-t", "20", "-b", "1M", "-l", "8K", "-i", "1", "--forceflush")
    flow = ("iperf3", "-c", web["primaryIpAddress"], "-p", "5999", *pace)
    log = place.bed.spawn(1, "flow", "docker", "exec", client, *flow)
    until("the connection stands", lambda: log.read_text().count("sec") >= 2, 15)
    network = place.api.get(f"{PROJECT}/networks")["data"][0]
    place.api.action(network, "rotatekey")
    until(
        "the new key is in force",
        lambda: place.api.get(f"{PROJECT}/networks")["data"][0]["keyGeneration"] > network["keyGeneration"],
        15,
    )
    until("the flow has ended", lambda: "iperf Done" in log.read_text(), 40)
    pauses = [line for line in log.read_text().splitlines() if "0.00 bits/sec" in line]
    assert not pauses, pauses


def test_x_is_no_part_of_the_network(place: Platform) -> None:
    target = next(iter(addresses(place, "shop", "web")))
    assert not place.bed.exec(X, "curl", "-s", "-m", "1", f"http://{target}/", check=False)


def test_the_policy_decides_who_talks_to_whom(place: Platform) -> None:
    network = place.api.get(f"{PROJECT}/networks")["data"][0]
    url = f"{PROJECT}/networks/{network['id']}"
    other = next(iter(addresses(place, "other", "web")))
    web = place.containers(place.service(place.shop, "web"))  # type: ignore[attr-defined]
    pages = place.containers(place.service(place.shop, "page"))  # type: ignore[attr-defined]
    page = next(c["primaryIpAddress"] for c in pages if c["name"] == "shop_page_1")  # its companion listens elsewhere

    def reached(host: int, address: str) -> bool:
        return place.curl(host, client_on(place, host), f"http://{address}/", "-m", "1").startswith("hello")

    def picture_of(policy: dict[str, object]) -> list[tuple[bool, bool, bool]]:
        place.api.call("PUT", url, policy)
        return [
            (all(reached(h, c["primaryIpAddress"]) for c in web), reached(h, page), reached(h, other))
            for h in place.hosts
        ]

    def follows(policy: dict[str, object], wanted: tuple[bool, bool, bool]) -> None:
        until(f"{policy} gives {wanted}", lambda: picture_of(policy) == [wanted] * len(place.hosts), 40)

    try:
        follows(
            {"defaultPolicyAction": "deny", "policy": [{"within": "stack", "action": "allow"}]}, (True, True, False)
        )
        follows({"policy": [{"within": "linked", "action": "allow"}]}, (True, False, False))
        follows({"policy": []}, (False, False, False))
        answer = place.api.action(network, "explain", {"source": web[0]["id"], "target": web[1]["name"]})
        assert answer["passes"] is False
        assert "default is deny" in answer["because"]
    finally:
        place.api.call("PUT", url, {"defaultPolicyAction": "allow", "policy": []})
    follows({}, (True, True, True))


def test_published_ports_lead_to_containers_from_everywhere(place: Platform) -> None:
    bed = place.bed
    made = place.stack("ports", """\
version: '2'
services:
  web:
    image: local/client:1
    ports: ['8088:80', '80']
""")  # fmt: skip
    web = place.service(made, "web")
    container = place.containers(web)[0]
    host = place.host_of(container)
    ports = {end["privatePort"]: end["port"] for end in container["publicEndpoints"] if end["port"] != 8088}

    def got(where: int | str, port: int) -> str:
        return bed.exec(where, "curl", "-s", "-m", "2", f"http://{bed.ip(host)}:{port}/", check=False)

    for where in (X, *place.hosts):
        until(f"port 8088 from {where}", lambda where=where: "hello" in got(where, 8088), 20)
    until("the port that was drawn", lambda: "hello" in got(X, ports[80]), 20)
    for other in place.hosts:
        url = f"http://{bed.ip(host)}:8088/"
        until(
            f"from a container on h{other}",
            lambda other=other, url=url: "hello" in place.curl(other, client_on(place, other), url),
            10,
        )
    own, url = str(container["externalId"]), f"http://{bed.ip(host)}:8088/"
    until("it reaches itself through its host's port", lambda: "hello" in place.curl(host, own, url), 20)
    config = {**web["launchConfig"], "ports": ["8089:80"]}
    place.api.call("PUT", f"{PROJECT}/services/{web['id']}", {"launchConfig": config})
    until("the port is another one", lambda: "hello" in got(X, 8089) and not got(X, 8088), 20)
    assert place.containers(web)[0]["externalId"] == container["externalId"]
    place.api.call("DELETE", f"{PROJECT}/environments/{made['id']}")
    until("it is closed", lambda: not got(X, 8089), 20)

"""E.6 of the walk: nodes lose power, network and processes, one after another, and nobody outside should have to care.

Every fault is judged the same way (:func:`survive`): writes through the load balancer resume, every agent answers, no
container of the user was touched, the node comes back whole by itself, and at the end nothing acknowledged is missing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial

from testbed import outside
from testbed.bed import until
from testbed.client import ApiError, Client
from testbed.install import (
    exec_and_logs,
    execute,
    nodes_shown,
    run_script,
    ui_answers,
    user_containers,
    wait_hosts,
    wait_whole,
)
from testbed.walk import PARTS, PROJECT, Walk, must

Do = Callable[[Walk], str | None]
RESUME_WITHIN = 15.0
"""A step fails beyond this; what is usual is printed, and measured by bench/failover."""


def leader(walk: Walk) -> int:
    """The number of the node that leads now."""
    shown = nodes_shown(walk)
    return next(node for node in walk.nodes if (shown.get(walk.bed.ip(node)) or {}).get("leader"))


def survive(walk: Walk, act: Callable[[], object], undo: Callable[[], object], settle: float = 2.0) -> str:
    """A fault, what it did to writers and agents, and the way back."""
    before = user_containers(walk)
    with walk.writing(f"w{len(walk.results)}") as writer:
        began = time.monotonic()
        act()
        resumed = writer.resumed(began, RESUME_WITHIN) - began
        agents_answer(walk)
        agents = time.monotonic() - began
        time.sleep(max(0.0, settle - (time.monotonic() - began)))
        gap = writer.longest_gap(began, time.monotonic())
        undo()
        back = time.monotonic()
        wait_whole(walk, 90)
        whole = time.monotonic() - back
    wait_hosts(walk)
    after = user_containers(walk)
    must(after == before, f"containers of the user were touched: {_difference(before, after)}")
    return (
        f"first write {resumed:.2f} s, longest pause {gap:.2f} s, all agents answer {agents:.1f} s, "
        f"whole again {whole:.1f} s after the repair"
    )


def _difference(before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]) -> str:
    changed = [key[:12] for key in before.keys() & after.keys() if before[key] != after[key]]
    gone, new = [key[:12] for key in before.keys() - after.keys()], [key[:12] for key in after.keys() - before.keys()]
    return f"restarted {changed}, gone {gone}, new {new}"


def agents_answer(walk: Walk, timeout: float = 30.0) -> None:
    """Run a command in one container of each host through whatever server the load balancer picks."""

    def answered() -> bool:
        listed = [c for c in walk.api.all(f"{PROJECT}/containers") if c["state"] == "running" and c.get("serviceId")]
        by_host = {container["hostId"]: container for container in listed}
        must(len(by_host) == len(walk.hosts), f"containers run on {len(by_host)} hosts")
        return all("alive" in execute(walk, container, "echo alive") for container in by_host.values())

    until("an agent on every host runs a command", answered, timeout, 0.2)


# -- the faults ----------------------------------------------------------------------------------------------------------
def power_off(walk: Walk, node: int | None = None) -> str:
    """The whole machine, the leader unless a node is named."""
    chosen = node or leader(walk)
    return f"h{chosen}: " + survive(walk, lambda: walk.bed.kill(chosen), lambda: walk.bed.boot(chosen))


def network_cut(walk: Walk, node: int | None = None) -> str:
    """The cable of a node, long enough for its sessions to end."""
    chosen = node or leader(walk)
    return f"h{chosen}: " + survive(walk, lambda: walk.bed.cut(chosen), lambda: walk.bed.heal(chosen), settle=12.0)


def kill_part(walk: Walk, node: int | None, part: str) -> str:
    """kill -9 of the first process of one container of a node; it must come back alone."""
    chosen = node or leader(walk)
    name = "remuda-ha" if part == "supervisor" else f"remuda-ha-{part}"
    started = walk.bed.docker(chosen, "inspect", "-f", "{{.State.StartedAt}}", name)

    def act() -> None:
        pid = walk.bed.docker(chosen, "inspect", "-f", "{{.State.Pid}}", name)
        walk.bed.exec(chosen, "kill", "-9", pid)

    def back() -> None:
        def again() -> bool:
            state = walk.bed.docker(chosen, "inspect", "-f", "{{.State.Running}} {{.State.StartedAt}}", name).split()
            return state[0] == "true" and state[1] != started

        until(f"{name} of h{chosen} runs again", again, 60, 0.2)

    return f"h{chosen}: " + survive(walk, act, back)


def reboot_all(walk: Walk) -> str:
    """All nodes lose power at once, and come back at once."""
    bed, before = walk.bed, user_containers(walk)
    with walk.writing("reboot") as writer:
        bed.each(bed.kill, walk.nodes)
        time.sleep(2)
        must(user_containers(walk) == before, "containers stopped while the management plane was away")
        began = time.monotonic()
        bed.each(bed.boot, walk.nodes)
        booted = time.monotonic() - began
        resumed = writer.resumed(began, 120) - began
        wait_whole(walk, 120)
        whole = time.monotonic() - began
    wait_hosts(walk)
    agents_answer(walk)
    must(user_containers(walk) == before, f"containers were touched: {_difference(before, user_containers(walk))}")
    return f"Docker on all after {booted:.1f} s, first write after {resumed:.1f} s, whole after {whole:.1f} s"


def no_quorum(walk: Walk) -> str:
    """Two of three away: writes refused within a second with the reason, reads served; then they return."""
    bed, survivor = walk.bed, walk.nodes[0]
    before = user_containers(walk)
    bed.each(bed.kill, walk.nodes[1:])
    api = walk.node_api(survivor)
    refusal, slowest = None, 0.0

    def refused() -> bool:
        nonlocal refusal
        try:
            api.post(f"{PROJECT}/environments", {"name": f"refused-{time.monotonic_ns()}"}, 10)
        except ApiError as error:
            refusal = error
            return error.status == 503
        return False

    until("a write is refused with 503", refused, 30, 0.1)
    must(refusal is not None and refusal.code == "NoQuorum", f"refused as {refusal}")
    for _ in range(10):
        began = time.monotonic()
        must(refused(), "a write was accepted without quorum")
        slowest = max(slowest, time.monotonic() - began)
        must(nodes_shown(walk, api), "reads show no nodes")
        must(ui_answers(bed.ip(survivor)), "the UI is not served")
    must(slowest <= 1.0, f"a refusal took {slowest:.2f} s")
    must(
        Client(f"http://{bed.ip(survivor)}:18080", timeout=3).raw("GET", "/status.txt")[0] == 200,
        "no status page on 18080",
    )
    began = time.monotonic()
    bed.each(bed.boot, walk.nodes[1:])
    with walk.writing("quorum") as writer:
        resumed = writer.resumed(began, 90) - began
        wait_whole(walk, 120)
    wait_hosts(walk)
    must(user_containers(walk) == before, "containers were touched")
    return f'"{str(refusal)[:160]}" within {slowest:.2f} s, reads served; back {resumed:.1f} s after power-on'


def replacement(walk: Walk) -> str:
    """A node is lost for good; a new machine runs the same script and takes its place, then another may fail."""
    bed, dead, new = walk.bed, walk.nodes[-1], walk.spare
    before = user_containers(walk)
    bed.up(new)
    with walk.writing("replace") as writer:
        bed.kill(dead)
        writer.resumed(time.monotonic(), RESUME_WITHIN)
        began = time.monotonic()
        walk.nodes = [*walk.nodes[:-1], new]
        run_script(walk, new)
        wait_whole(walk, 180)
        joined = time.monotonic() - began
        # With the dead node still in the ensemble, losing one more would cost the quorum.
        began = time.monotonic()
        bed.kill(walk.nodes[0])
        resumed = writer.resumed(began, RESUME_WITHIN) - began
        bed.boot(walk.nodes[0])
        wait_whole(walk, 90)
        bed.boot(dead)  # it finds its place taken
        time.sleep(5)
        wait_whole(walk, 90)
    bed.kill(dead)
    wait_hosts(walk)
    agents_answer(walk)
    must(user_containers(walk) == before, "containers were touched")
    return (
        f"h{new} whole in place of h{dead} after {joined:.1f} s; then h{walk.nodes[0]} lost: first write {resumed:.2f} s; "
        f"h{dead} came back and stayed out"
    )


def nothing_lost(walk: Walk) -> str:
    """Every write that was ever acknowledged is there."""
    there = {stack["name"] for stack in walk.api.all(f"{PROJECT}/environments")}
    missing = [name for name in walk.lost if name not in there]
    must(not missing, f"{len(missing)} of {len(walk.lost)} acknowledged writes are gone: {missing[:5]}")
    return f"all {len(walk.lost)} acknowledged writes are there"


def engine_away(walk: Walk) -> str:
    """A Docker host's engine dies (not the host): told apart, and back without harm."""
    host = walk.hosts[0]
    walk.bed.run("killdocker", host)

    def told() -> bool:
        row = next(h for h in walk.api.get(f"{PROJECT}/hosts")["data"] if h.get("agentIpAddress") == walk.bed.ip(host))
        return bool(row["docker"] == "down")

    with contextlib.ExitStack() as stack:
        stack.callback(walk.bed.run, "startdocker", host, timeout=120)
        until("the host shows that its Docker is down", told, 40, 0.3)
    wait_hosts(walk)
    count = 2 * len(walk.hosts)
    until(f"{count} containers run", lambda: len(user_containers(walk)) == count, 60)
    return "shown as an engine that is down, then active again"


def balancer_off(walk: Walk) -> str:
    """The database and load balancer machine reboots: nothing of ours needs a hand."""
    walk.bed.kill("x")
    walk.bed.boot("x")
    outside.start_mariadb(walk.bed)
    outside.start_balancer(walk.bed, [*walk.nodes, walk.spare])
    with walk.writing("database") as writer:
        writer.resumed(time.monotonic(), 60)
        wait_whole(walk, 90)
    wait_hosts(walk)
    agents_answer(walk)
    return "writes, nodes and agents are back"


def steps(nodes: tuple[int, ...] = (1, 2, 3), *, short: bool = False) -> list[tuple[str, Do]]:
    """The faults in order: all on each node, or one of each kind."""
    found: list[tuple[str, Do]] = [("E.6 power off: the leader", power_off)]
    if short:
        found.append(("E.6 network cut: the leader", network_cut))
        found += [
            (f"E.6 kill -9: {part} of the leader", partial(kill_part, node=None, part=part))
            for part in ("server", "ingress")
        ]
    else:
        for node in nodes:
            found.append((f"E.6 power off: h{node}", partial(power_off, node=node)))
            found.append((f"E.6 network cut: h{node}", partial(network_cut, node=node)))
            found += [
                (f"E.6 kill -9: {part} of h{node}", partial(kill_part, node=node, part=part))
                for part in ("supervisor", *PARTS)
            ]
        found.append(("E.6 database and load balancer reboot", balancer_off))
        found.append(("E.6 all nodes rebooted at once", reboot_all))
    found.append(("E.6 no quorum", no_quorum))
    if not short:
        found.append(("E.6 a new machine replaces a dead node", replacement))
    found.append(("E.6 exec and logs afterwards", exec_and_logs))
    found.append(("E.6 nothing acknowledged is lost", nothing_lost))
    return found

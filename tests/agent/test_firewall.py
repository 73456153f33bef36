"""The rules that are worked out are rules that the kernel takes."""

from __future__ import annotations

import subprocess

import pytest

from remuda.core.model import Between, PolicyRule, Port
from remuda.core.network.ruleset import render, wanted
from remuda.core.network.scene import Scene, SceneContainer, SceneHost, SceneNetwork, SceneService

pytestmark = pytest.mark.real


def scene(network: SceneNetwork, *, containers: int = 3) -> Scene:
    made = {}
    for n in range(1, containers + 1):
        ports = [Port(80, 8000 + n), Port(53, 5000 + n, "udp", "192.0.2.1")] if n < 50 else []
        made[n] = SceneContainer(
            id=n, uuid=f"c{n}", name=f"c{n}", service_id=1, stack_id=1, host_id=1, state="running", labels={"team": "a"},
            ip=f"10.42.{n // 250}.{n % 250}", ports=ports,
        )  # fmt: skip
    return Scene(
        network=network, hosts={1: SceneHost(id=1, ip="10.42.0.1")}, services={1: SceneService(id=1, stack_id=1)}, containers=made
    )  # fmt: skip


EVERY_RULE = [
    PolicyRule(within="service", action="deny"), PolicyRule(within="stack"), PolicyRule(within="linked"),
    PolicyRule(between=Between("team")),
]  # fmt: skip


@pytest.mark.parametrize("default", ["allow", "deny"])
@pytest.mark.parametrize("rules", [[], EVERY_RULE], ids=["no rules", "every kind of rule"])
@pytest.mark.parametrize("containers", [0, 3, 2000])
def test_the_kernel_accepts_what_is_rendered(default: str, rules: list[PolicyRule], containers: int) -> None:
    made = wanted(scene(SceneNetwork(default_policy=default, policy=rules), containers=containers), 1, "remuda0")
    assert made is not None
    done = subprocess.run(
        ["unshare", "-n", "nft", "-f", "-"],
        input=render(made) * 2,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:500]

"""Addresses: which is next, which are never given, and what a container may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.model import Instance
from remuda.core.network.addressing import (
    TUNNELS,
    Pool,
    mac_of,
    next_free,
    number,
    pool_of,
    requested,
    text,
    wants_address,
    within,
)
from remuda.core.spec import LaunchConfig


def test_the_first_address_leaves_the_customary_gateway_alone() -> None:
    pool = pool_of("10.42.0.0/16")
    assert text(pool.first) == "10.42.0.2"
    assert text(pool.last) == "10.42.255.247"
    assert pool.size == 65_526


def test_tunnels_never_meet_the_address_of_names_and_metadata() -> None:
    pool = pool_of(TUNNELS)
    assert not within("169.254.169.250", pool)
    assert text(pool.first) == "169.254.64.2"


def test_the_hardware_address_follows_from_the_address() -> None:
    assert mac_of("10.42.1.255") == "02:42:0a:2a:01:ff"


@pytest.mark.parametrize(
    ("cursor", "taken", "found"),
    [
        (0, [], 10),
        (9, [10, 11, 12], 13),
        (11, [12, 14], 13),
        (11, [13], 12),
        (19, [20], None),
        (20, [], None),
    ],
)
def test_the_next_free_address(cursor: int, taken: list[int], found: int | None) -> None:
    assert next_free(Pool(10, 20), cursor, taken) == found


@given(st.sets(st.integers(10, 30)), st.integers(0, 35))
def test_what_is_given_is_free_in_the_pool_and_after_the_cursor(taken: set[int], cursor: int) -> None:
    pool = Pool(10, 30)
    after = sorted(t for t in taken if t > cursor)
    found = next_free(pool, cursor, after)
    free = [n for n in range(max(cursor + 1, 10), 31) if n not in taken]
    assert found == (free[0] if free else None)


def instance(ordinal: int = 1, mode: str = "managed", host: int | None = 1, **config: object) -> Instance:
    return Instance(ordinal=ordinal, host_id=host, spec=LaunchConfig(network_mode=mode, **config))  # type: ignore[arg-type]


def test_only_placed_containers_of_the_managed_network_get_an_address() -> None:
    assert wants_address(instance())
    assert not wants_address(instance(host=None))
    for mode in ("host", "none", "bridge", "container:x"):
        assert not wants_address(instance(mode=mode))
    assert not wants_address(instance(network_launch_config="web"))


def test_a_list_of_requested_addresses_has_one_for_each_ordinal() -> None:
    labels = {"io.rancher.container.requested_ip": "10.42.0.7, 10.42.0.8"}
    assert [requested(instance(n, labels=labels)) for n in (1, 2, 3)] == ["10.42.0.7", "10.42.0.8", ""]
    assert requested(instance(requested_ip_address="10.42.9.9")) == "10.42.9.9"
    assert requested(instance()) == ""


def test_an_address_outside_of_the_pool_is_not_given() -> None:
    pool = pool_of("10.42.0.0/16")
    assert within("10.42.0.2", pool)
    for address in ("10.42.0.1", "10.43.0.1", "10.42.255.250", "web", ""):
        assert not within(address, pool)
    assert number("10.42.0.2") == pool.first

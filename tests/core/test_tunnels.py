"""Which tunnels are made and taken down: one side begins, the new one stands before the old one goes, what is wanted settles."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core import scenes

from remuda.core.network.scene import SceneHost
from remuda.core.network.tunnels import (
    AGAIN_SECONDS,
    CLOSING,
    CONNECTING,
    IDLE,
    INSTALLED,
    LATE_SECONDS,
    OVERLAP_SECONDS,
    RARELY_SECONDS,
    Connection,
    Standing,
    Steps,
    Times,
    condition,
    connections,
    reason,
    secrets,
    settled,
    steps,
)


def host(number: int, **changes: object) -> SceneHost:
    return scenes.host(number, **{"tunnel": f"169.254.64.{number}", **changes})


OWN, OTHERS = host(5), [host(3), host(9)]
NEVER = Times({}, {}, {}, {})


def wanted(*generations: int) -> dict[str, Connection]:
    return connections(OWN, OTHERS, generations)


def plan(*standing: Standing, keys: tuple[int, ...] = (1,), use: int = 1, times: Times = NEVER) -> Steps:
    return steps(OWN.id, wanted(*keys), standing, use, times)


def up(name: str) -> Standing:
    return Standing(name, INSTALLED, name.upper())


def test_there_is_a_connection_for_each_host_and_key() -> None:
    found = wanted(1, 2)
    assert sorted(found) == ["p3g1", "p3g2", "p9g1", "p9g2"]
    one = found["p9g2"]
    assert (one.remote, one.local_tunnel, one.remote_tunnel) == ("192.0.2.9", "169.254.64.5", "169.254.64.9")
    assert (one.local_id, one.remote_id) == ("host-5.g2.remuda.internal", "host-9.g2.remuda.internal")


def test_both_ends_mean_the_same_tunnel() -> None:
    here, there = wanted(1)["p9g1"], connections(OTHERS[1], [OWN], [1])["p5g1"]
    assert (here.local_id, here.remote_id) == (there.remote_id, there.local_id)
    assert (here.local_tunnel, here.remote_tunnel) == (there.remote_tunnel, there.local_tunnel)


@pytest.mark.parametrize("lacks", ["tunnel", "agent_ip"])
def test_a_host_without_addresses_has_no_tunnel_yet(lacks: str) -> None:
    assert connections(OWN, [host(3, **{lacks: ""})], [1]) == {}


def test_keys_are_known_by_generation_and_never_shown() -> None:
    found = secrets({7: "top secret"})
    assert found["k7"].owner == "*.g7.remuda.internal"
    assert "top secret" not in repr(found)


def test_the_lower_number_begins_and_the_higher_one_only_when_it_has_waited() -> None:
    assert plan() == Steps(("p9g1",), (), LATE_SECONDS)
    waited = Times({3: LATE_SECONDS}, {"p9g1": AGAIN_SECONDS / 2}, {}, {"p9g1": 1})
    assert plan(times=waited).initiate == ("p3g1",)


@pytest.mark.parametrize(("tries", "pause"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, RARELY_SECONDS), (99, RARELY_SECONDS)])
def test_a_host_that_does_not_answer_is_tried_ever_more_rarely(tries: int, pause: float) -> None:
    def after(seconds: float) -> Steps:
        times = Times({9: 100.0}, {"p9g1": seconds}, {}, {"p9g1": tries})
        return steps(OWN.id, {"p9g1": wanted(1)["p9g1"]}, [], 1, times)

    assert after(pause - 0.5) == Steps((), (), 0.5)
    assert after(pause) == Steps(("p9g1",), ())


def test_what_is_being_made_is_not_begun_again() -> None:
    assert plan(Standing("p9g1", CONNECTING)).initiate == ()
    assert plan(Standing("p9g1", IDLE)).initiate == ("p9g1",)
    assert plan(up("p9g1")).initiate == ()


def test_what_is_not_wanted_any_more_goes_at_once_and_once() -> None:
    assert plan(up("p4g1"), up("p9g1")).terminate == ("P4G1",)
    assert plan(Standing("p4g1", CLOSING, "x"), up("p9g1")).terminate == ()


def test_a_new_key_has_its_tunnel_before_that_of_the_old_one_goes() -> None:
    assert done(plan(up("p9g1"), keys=(1, 2), use=1)) == ((), ())
    assert done(plan(up("p9g1"), keys=(1, 2), use=2)) == (("p9g2",), ())
    both = up("p9g1"), up("p9g2")
    assert done(plan(*both, keys=(1, 2), use=2)) == ((), ())
    later = Times({}, {}, {9: OVERLAP_SECONDS}, {})
    assert done(plan(*both, keys=(1, 2), use=2, times=later)) == ((), ("P9G1",))


def done(found: Steps) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return found.initiate, found.terminate


def test_a_host_that_hears_late_of_a_change_does_not_take_down_the_new_tunnel() -> None:
    both = up("p9g1"), up("p9g2")
    later = Times({}, {}, {9: OVERLAP_SECONDS}, {})
    assert done(plan(*both, keys=(1, 2), use=1, times=later)) == ((), ("P9G1",))
    assert done(plan(up("p9g2"), keys=(1, 2), use=1)) == ((), ())


@given(st.permutations(range(4)), st.sampled_from([(1, 1), (1, 2), (2, 1)]))
def test_two_hosts_that_rotate_at_different_times_always_have_a_tunnel(order: list[int], uses: tuple[int, int]) -> None:
    """Each acts on its own knowledge, in any order; a tunnel is the same thing for both."""
    low, high = host(1), host(2)
    views = {1: connections(low, [high], [1, 2]), 2: connections(high, [low], [1, 2])}
    standing = {1}
    for turn in order * 3:
        me, other = (1, 2) if turn % 2 else (2, 1)
        seen = [Standing(f"p{other}g{g}", INSTALLED, str(g)) for g in standing]
        late = Times({other: 9.0}, {}, {other: 9.0}, {})
        todo = steps(me, views[me], seen, uses[me - 1], late)
        standing |= {views[me][name].generation for name in todo.initiate}
        standing -= {int(number) for number in todo.terminate}
        assert standing
    assert max(standing) == max(uses)


def test_a_key_is_in_force_once_every_tunnel_that_stands_has_it() -> None:
    both = wanted(1, 2)
    assert settled(both, [], 2)
    assert not settled(both, [up("p3g2"), up("p9g1")], 2)
    assert settled(both, [up("p3g2"), up("p9g1"), up("p9g2")], 2)


def test_what_is_said_of_each_peer() -> None:
    said = condition(OWN.id, wanted(1), [], {})
    assert said == {3: "down: waits for the other host to begin", 9: "down: being made"}
    said = condition(OWN.id, wanted(1), [up("p3g1")], {3: "old", 9: "no route"})
    assert said == {3: "up", 9: "down: no route"}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("received AUTHENTICATION_FAILED notify error", "refused"),
        ("tried 1 shared key for 'a' - 'b', but MAC mismatched", "another key"),
        ("giving up after 4 retransmits", "UDP 500 and 4500"),
        ("IKE_SA p2g1[5] established between ...", ""),
    ],
)
def test_lines_of_the_log_in_words_for_an_operator(line: str, word: str) -> None:
    assert word in reason(line)
    assert bool(reason(line)) == bool(word)


def test_a_hundred_hosts_settle_with_one_tunnel_each() -> None:
    everybody = [host(number) for number in range(1, 101)]
    tunnels = set()
    for own, peer in product(everybody, everybody):
        if own.id == peer.id:
            continue
        view = connections(own, [peer], [1])
        if steps(own.id, view, [], 1, NEVER).initiate:
            tunnels.add(frozenset((own.id, peer.id)))
            assert own.id < peer.id
    assert len(tunnels) == 4950

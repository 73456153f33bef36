"""How a key is replaced: nobody is ever told to use what another host does not accept, and nothing waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core.network.rotation import (
    DROP,
    MAKE,
    PATIENCE_SECONDS,
    REST,
    SETTLE_SECONDS,
    USE,
    WAIT,
    Confirmed,
    Step,
    next_step,
)


def host(*accepts: int, uses: int = 0) -> Confirmed:
    return Confirmed(frozenset(accepts), uses)


def step(
    keys: list[int], use: int, *hosts: Confirmed, asked: bool = False, encrypted: bool = True, at: float = 0
) -> Step:
    return next_step(keys, use, asked, encrypted, hosts, lambda _mark: at)


@pytest.mark.parametrize(
    ("found", "do"),
    [
        (step([], 0), MAKE),
        (step([1], 1, host(1, uses=1)), REST),
        (step([1], 1, host(1, uses=1), asked=True), MAKE),
        # every connected host must accept a key before any is told to use it
        (step([1, 2], 1, host(1, 2, uses=1), host(1, uses=1)), WAIT),
        (step([1, 2], 1, host(1, 2, uses=1), host(1, 2, uses=1)), USE),
        (step([1, 2], 1, host(1, 2, uses=1), host(), at=PATIENCE_SECONDS), USE),
        # and all must have changed over before the old one is forgotten
        (step([1, 2], 2, host(1, 2, uses=2), host(1, 2, uses=1)), WAIT),
        (step([1, 2], 2, host(1, 2, uses=2), host(1, 2, uses=2)), WAIT),
        (step([1, 2], 2, host(1, 2, uses=2), host(1, 2, uses=2), at=SETTLE_SECONDS), DROP),
        (step([1, 2], 2, host(1, 2, uses=2), host(), at=PATIENCE_SECONDS), DROP),
        # what is asked for meanwhile comes after
        (step([1, 2], 1, host(1), asked=True), WAIT),
        (step([1, 2], 2, host(1, 2, uses=2), asked=True), WAIT),
        # nobody is there, or nobody needs a key
        (step([1, 2], 1), USE),
        (step([1, 2], 1, host(), encrypted=False), USE),
        (step([1, 2], 2, host(), encrypted=False), DROP),
    ],
)
def test_the_steps(found: Step, do: str) -> None:
    assert found.do == do
    assert (found.wait is not None) == (do == WAIT)


@given(st.lists(st.booleans(), max_size=5), st.booleans())
def test_a_rotation_ends_whatever_hosts_answer(answers: list[bool], encrypted: bool) -> None:
    keys, use, now, asked = [1], 1, 0.0, True
    begun: dict[str, float] = {}
    for _ in range(20):
        hosts = [Confirmed(frozenset(keys), use) if answer else Confirmed(frozenset([1]), 1) for answer in answers]
        found = next_step(keys, use, asked, encrypted, hosts, lambda mark, now=now: now - begun.setdefault(mark, now))
        if found.do == MAKE:
            keys, asked = [*keys, max(keys) + 1], False
        elif found.do == USE:
            assert not encrypted or now >= PATIENCE_SECONDS or all(2 in h.accepts for h in hosts)
            use = max(keys)
        elif found.do == DROP:
            keys = [max(keys)]
        elif found.do == REST:
            break
        now += found.wait or 0.0
    assert (keys, use) == ([2], 2)
    assert now <= 2 * PATIENCE_SECONDS

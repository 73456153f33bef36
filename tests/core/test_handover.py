"""A service that is upgraded to another: the steps, who is led where, and the way back."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.core import handover, upgrades
from remuda.core.balancing.config import LbConfig, PortRule
from remuda.core.handover import Scales, Wish
from remuda.core.model import Service, ServiceLink
from remuda.core.states import derive


def steps(old: int, new: int, batch: int, final: int) -> list[tuple[int, int]]:
    wish = Wish(to=2, batch_size=batch, final_scale=final)
    found = [(old, new)]
    while (after := handover.step(Scales(*found[-1]), wish)) != found[-1]:
        found.append(tuple(after))
        assert len(found) < 1000
    return found


@pytest.mark.parametrize(
    ("old", "new", "batch", "final", "expected"),
    [
        (2, 0, 2, 5, [(2, 0), (2, 2), (2, 4), (1, 4), (1, 5), (0, 5)]),
        (2, 0, 1, 2, [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]),
        (1, 0, 1, 1, [(1, 0), (1, 1), (0, 1)]),
        (3, 0, 1, 2, [(3, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]),
        (0, 0, 2, 3, [(0, 0), (0, 2), (0, 3)]),
        (2, 3, 1, 3, [(2, 3), (1, 3), (0, 3)]),
    ],
)
def test_the_new_grows_and_the_old_gives_up_what_is_more_than_enough(
    old: int, new: int, batch: int, final: int, expected: list[tuple[int, int]]
) -> None:
    assert steps(old, new, batch, final) == expected


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 9), st.integers(1, 30))
def test_it_always_ends_and_never_has_less_than_it_had_or_is_to_have(
    old: int, new: int, batch: int, final: int
) -> None:
    found = steps(old, new, batch, final)
    assert found[-1] == (0, max(new, final))
    for (was, had), (now, has) in pairwise(found):
        assert has - had <= batch
        assert was - now <= batch
        assert now + has >= min(was + had, final)


def begun(new: Service) -> tuple[Service, Service]:
    old = Service(id=1, scale=3, data={"settled": True})
    ours, theirs = handover.begin(old, new, Wish(to=2, final_scale=3))
    return msgspec.structs.replace(old, **ours), msgspec.structs.replace(new, **theirs)


def test_it_is_upgrading_until_all_is_handed_over_and_then_upgraded() -> None:
    old, new = begun(Service(id=2, desired="inactive", scale=4))
    assert (new.desired, new.scale) == ("active", 0), "a service that is off begins empty"
    assert handover.source(new) == 1
    settled = msgspec.structs.replace(old, data={**old.data, "settled": True})
    assert derive(settled).state == "upgrading"
    over = msgspec.structs.replace(settled, **handover.over(settled))
    assert derive(over).state == "upgraded"
    assert handover.going(over) is None
    shown = upgrades.shown(over)
    assert shown is not None
    assert shown["toServiceStrategy"]["finalScale"] == 3
    finished = msgspec.structs.replace(over, **upgrades.finish(over))
    assert upgrades.shown(finished) is None


def test_back_means_both_as_they_were() -> None:
    old, new = begun(Service(id=2, desired="inactive", scale=4))
    later = msgspec.structs.replace(old, scale=1)
    ours, theirs = handover.back(later, msgspec.structs.replace(new, scale=2))
    assert ours["scale"] == 3
    assert (theirs["scale"], theirs["desired"]) == (0, "inactive")
    assert handover.source(msgspec.structs.replace(new, **theirs)) is None


def test_who_led_to_the_old_one_leads_to_both_and_back_again() -> None:
    shop = Service(id=7, links=[ServiceLink(1, "db"), ServiceLink(5, "cache")])
    rules = [PortRule(source_port=80, service_id=1), PortRule(source_port=80, service_id=5)]
    front = Service(id=8, lb_config=LbConfig(port_rules=rules))
    other = Service(id=9, links=[ServiceLink(5, "x")])
    changed = {
        service.id: msgspec.structs.replace(service, **changes)
        for service, changes in handover.linked([shop, front, other], 1, 2)
    }
    assert set(changed) == {7, 8}
    assert ServiceLink(2, "db") in changed[7].links
    assert [rule.service_id for rule in changed[8].lb_config.port_rules] == [1, 5, 2]
    assert handover.linked(changed.values(), 1, 2) == [], "twice is once"
    back = {s.id: msgspec.structs.replace(s, **c) for s, c in handover.unlinked([*changed.values(), other], 1, 2)}
    assert back == {7: shop, 8: front}

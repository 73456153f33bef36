"""What simulated machines are like, what containers order them to do, and which containers they are a place for."""

from __future__ import annotations

import pytest

from remuda.core.model import Host
from remuda.core.placement.pipeline import Placed, Refused, place
from remuda.core.placement.values import Candidate, Request, candidate
from remuda.core.simulated import KNOBS, Knobs, Orders, facts, knobs, orders
from remuda.core.spec import LaunchConfig

SIM, REAL = Candidate(1, "sim", simulated=True), Candidate(2, "real")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Orders()),
        ('{"Labels": {"simple": "failure"}}', Orders()),
        ('{"Labels": {"compute.instance.activate::fail": ""}}', Orders(failing=frozenset({"compute.instance.activate"}))),
        ('["compute.instance.remove::fail", "storage.image.activate::fail"]',
         Orders(failing=frozenset({"compute.instance.remove", "storage.image.activate"}))),
        ('{"Env": ["X=simShutdownAfter:20"]}', Orders(shutdown_after=20.0)),
        ('{"Labels": {"simShutdownAfter": "3"}}', Orders(shutdown_after=3.0)),
        ('{"Labels": {"simShutdownAfter": "soon"}}', Orders()),
        ('{"Cmd": ["simForgetImmediately"]}', Orders(forget=True)),
        ('{"Env": ["simDisconnectAgent=1"]}', Orders(disconnect=True)),
        ('{"Labels": {"name": "simCreateAnother_a-b.7"}}', Orders(another="a-b.7")),
    ],
)  # fmt: skip
def test_orders_are_read_wherever_they_are(text: str, expected: Orders) -> None:
    assert orders(text) == expected


def test_knobs_are_found_under_their_short_and_their_whole_name() -> None:
    told = {"memory": 1024**3, "milliCpu": "2500", "externalId": "x"}
    expected = Knobs(memory=1024**3, milli_cpu=2500, external_id="x")
    assert knobs({KNOBS: told}) == expected
    assert knobs({"other": 1, f"a.b.{KNOBS}": told}) == expected
    assert knobs({}) == Knobs()
    assert facts("u", expected).info["cpuInfo"]["count"] == 2


@pytest.mark.parametrize(
    "told", [{"hosts": 0}, {"hosts": 3}, {"memory": -1}, {"milliCpu": "fast"}, {"localStorageMb": 0}, 7]
)
def test_a_machine_that_cannot_be_is_refused_by_the_name_of_the_knobs(told: object) -> None:
    with pytest.raises(ValueError, match=KNOBS):
        knobs({KNOBS: told})


def _wanted(image: str, host: int | None = None) -> Request:
    return Request(specs=(LaunchConfig(image_uuid=image),), requested_host=host)


def test_a_simulated_image_goes_to_a_simulated_host_and_a_real_one_to_a_real_host() -> None:
    for image, host in (("sim:web", 1), ("docker:web", 2)):
        verdict = place(_wanted(image), [SIM, REAL])
        assert isinstance(verdict, Placed)
        assert verdict.host_id == host


def test_a_real_image_may_go_to_a_simulated_host_where_there_are_no_others() -> None:
    verdict = place(_wanted("docker:web"), [SIM])
    assert isinstance(verdict, Placed)


@pytest.mark.parametrize(("image", "host", "word"), [("sim:web", 2, "real"), ("docker:web", 1, "simulated")])
def test_asking_for_the_wrong_kind_of_host_says_what_is_wrong(image: str, host: int, word: str) -> None:
    verdict = place(_wanted(image, host), [SIM, REAL])
    assert isinstance(verdict, Refused)
    assert f"is {word}, and the image" in verdict.because


def test_the_kind_of_a_host_tells_whether_it_is_simulated() -> None:
    assert candidate(Host(kind="sim")).simulated
    assert not candidate(Host(kind="docker")).simulated

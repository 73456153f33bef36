"""The installation page's walk with one of each kind of fault, on real hosts. `make ha-demo` does all faults on all nodes.

The steps build on each other: when one fails, those that need it fail with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from testbed import faults
from testbed.bed import Bed
from testbed.install import BEGINNING, IMAGES
from testbed.walk import Walk

pytestmark = [pytest.mark.bed, pytest.mark.timeout(400)]
STEPS = [*BEGINNING, *faults.steps(short=True)]


@pytest.fixture(scope="module")
def walk(images: str) -> Iterator[Walk]:
    with Bed(5, name="twalk", net="10.77.4", images=IMAGES) as bed:
        yield Walk(bed)


@pytest.mark.parametrize(("title", "do"), STEPS, ids=[title for title, _ in STEPS])
def test_step(walk: Walk, title: str, do: Callable[[Walk], str | None]) -> None:
    broken = next((result.title for result in walk.results[: len(BEGINNING)] if result.problem), None)
    assert not broken, f"an earlier step failed: {broken}"
    assert walk.step(title, do), walk.results[-1].problem

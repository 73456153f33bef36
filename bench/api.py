"""What lists cost beside a bare Starlette handler of the same bytes, unchanged and after each change, and how long they take."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from testbed.bed import until
from testbed.client import Client

from bench.figures import figure, heading, median, spread

PROJECT = "/v1/projects/1a5"
PORT, BARE_PORT = 18931, 18932
IDLE_SECONDS = 3.0
TICKS = os.sysconf("SC_CLK_TCK")
BARE = """\
    import sys
    from pathlib import Path

    import msgspec
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    document = msgspec.json.decode(Path(sys.argv[1]).read_bytes())

    async def answer(request):
        return Response(msgspec.json.encode(document), media_type="application/json")

    uvicorn.run(Starlette(routes=[Route("/", answer)]), port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


@contextlib.contextmanager
def process(*command: object) -> Iterator[int]:
    """A program until the block ends; its process id."""
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait(10)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, to the nanosecond where the kernel says so."""
    try:
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except (OSError, ValueError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS


class Door:
    """One kept connection. ``ask`` gives the seconds until the whole answer was there, and the answer."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._http, self.headers = http.client.HTTPConnection("127.0.0.1", port, timeout=30), headers
        self._used = time.monotonic()
        self.tag = ""

    def ask(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[float, bytes]:
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._http.close()  # the server may be doing so just now
        began = time.perf_counter()
        content = None if body is None else json.dumps(body)
        wanted = method or ("GET" if body is None else "POST")
        self._http.request(wanted, path, content, {**self.headers, **headers})
        answer = self._http.getresponse()
        said = answer.read()
        took, self._used = time.perf_counter() - began, time.monotonic()
        assert answer.status < 400, said[:300]
        self.tag = answer.headers.get("ETag", "")
        return took, said


def each(count: int, ask: Callable[[], tuple[float, bytes]]) -> list[float]:
    """The times of so many questions, sorted."""
    return sorted(ask()[0] for _ in range(count))


def costs(pid: int, count: int, ask: Callable[[], tuple[float, bytes]]) -> float:
    """Milliseconds of CPU that a question costs the program that answers it."""
    before = cpu(pid)
    each(count, ask)
    return 1000 * (cpu(pid) - before) / count


def set_up(data: Path, port: int = PORT) -> tuple[Client, dict[str, str]]:
    """An administrator, and what to send as one."""
    api = Client(f"http://127.0.0.1:{port}")
    until("the server answers", lambda: api.raw("GET", "/ping", timeout=2)[0] == 200, 60)
    secret = until("the setup secret is there", lambda: (data / "setup-secret").read_text().strip(), 30)
    api.post("/v1/setup", {"secret": secret, "username": "admin", "password": "correct horse battery", "name": "Admin"})
    token = api.post("/v1/token", {"code": "admin:correct horse battery"})
    return api, {"Authorization": f"Bearer {token['jwt']}", "Accept": "application/json"}


def service_body(name: str, stack: str) -> dict[str, Any]:
    """A service that has no containers."""
    config = {"imageUuid": "docker:nginx", "labels": {"team": "a"}, "ports": ["8080:80"]}
    return {"name": name, "environmentId": stack, "scale": 0, "startOnCreate": False, "launchConfig": config}


def measure(pid: int, door: Door, folder: Path, rounds: int) -> None:
    """All figures."""
    stack = json.loads(door.ask(f"{PROJECT}/environments", {"name": "bench"})[1])["id"]
    heading(f"API on SQLite, {rounds} rounds")
    made = [json.loads(door.ask(f"{PROJECT}/services", service_body(f"s{n}", stack))[1])["id"] for n in range(100)]
    page = f"{PROJECT}/services?limit=100"
    (folder / "page.json").write_bytes(door.ask(page)[1])
    (folder / "bare.py").write_text(textwrap.dedent(BARE))
    count = iter(range(10**9))

    def change() -> None:
        """One of the services is described anew."""
        door.ask(f"{PROJECT}/services/{made[7]}", {"description": f"changed {next(count)}"}, "PUT")

    with process(sys.executable, folder / "bare.py", folder / "page.json", BARE_PORT) as bare:
        until("the bare handler answers", lambda: Door(BARE_PORT, {}).ask("/"), 20)
        plain = Door(BARE_PORT, {})
        found: dict[str, list[float]] = {"bare": [], "unchanged": [], "changed": []}
        for _ in range(rounds):
            found["bare"].append(costs(bare, 400, lambda: plain.ask("/")))
            found["unchanged"].append(costs(pid, 100, lambda: door.ask(page)))
            found["changed"].append(costs_after(pid, 60, change, lambda: door.ask(page)))
    for what, values in found.items():
        print(f"  CPU of a list of 100 services, {what}: {spread(values)} ms")
    figure("unchanged, beside the bare handler, median of rounds", beside(found, "unchanged"), "x", 2)
    figure("made anew after a change of one row, the same", beside(found, "changed"), "x", 2)
    wide_lists(door, stack, change)


def beside(found: dict[str, list[float]], what: str) -> float:
    """The median of the rounds' ratios to the bare handler."""
    return median([ours / bare for ours, bare in zip(found[what], found["bare"], strict=True)])


def costs_after(pid: int, count: int, change: Callable[[], None], ask: Callable[[], object]) -> float:
    """Milliseconds of CPU that a question costs when it follows a change: both together, less the changes alone."""
    before = cpu(pid)
    for _ in range(count):
        change()
        ask()
    both = cpu(pid)
    for _ in range(count):
        change()
    return 1000 * ((both - before) - (cpu(pid) - both)) / count


def wide_lists(door: Door, stack: str, change: Callable[[], None]) -> None:
    """400 services: unchanged, after each change, and for somebody who has the answer already."""
    for number in range(300):
        door.ask(f"{PROJECT}/services", service_body(f"w{number}", stack))
    wide = f"{PROJECT}/services?limit=400"
    began = door.ask(wide)[0]

    def changed() -> tuple[float, bytes]:
        change()
        return door.ask(wide)

    figure("list of 400 services, read for the first time", 1000 * began, "ms")
    for what, times in (
        ("one changed before each", each(200, changed)),
        ("unchanged", each(200, lambda: door.ask(wide))),
    ):
        figure(f"list of 400 services, {what}, p50", 1000 * times[100], "ms", 5)
        figure("the same, p99", 1000 * times[197], "ms", 20)
    tag = door.tag
    times = each(200, lambda: door.ask(wide, **{"If-None-Match": tag}))
    figure("the same with If-None-Match, p50", 1000 * times[100], "ms", 1)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="remuda-bench-") as text:
        folder = Path(text)
        command = (sys.executable, "-m", "remuda.run.server", "--data", folder / "data", "--host", "127.0.0.1")
        with process(*command, "--port", PORT) as pid:
            _, headers = set_up(folder / "data")
            measure(pid, Door(PORT, headers), folder, rounds)


if __name__ == "__main__":
    main()

"""The bed as a value of Python: ``with Bed(hosts=5) as bed: bed.docker(1, "ps")``.

It exists so that tests, benchmarks and the demo share one way to power hosts off and on. All work is done by the script
``bed`` beside this module; nothing here knows Remuda. Leaving the context deletes the bed, disks included, on any error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

HERE = Path(__file__).resolve().parent
BUILD_DIR = Path(os.environ.get("BUILD_DIR", "/tmp/bed-build"))
KEPT_SEEDS = 3
X = "x"
"""The host that is the outside world."""

T = TypeVar("T")
Host = int | str


class BedError(RuntimeError):
    """A command of the bed failed; the message is what it said."""


def until(what: str, check: Callable[[], T], timeout: float = 60.0, every: float = 0.1) -> T:
    """Poll ``check`` until it returns something true; errors count as not yet. Raises TimeoutError with the last error."""
    end = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Exception as error:
            last = repr(error)
        if time.monotonic() > end:
            raise TimeoutError(f"after {timeout:.0f} s still not: {what} (last: {str(last)[:300]})")
        time.sleep(every)


class Bed:
    """Hosts 1..N and ``x``. Two beds at a time need different ``name`` (at most 8 letters) and ``net``."""

    def __init__(
        self,
        hosts: int = 3,
        *,
        name: str = "bed",
        net: str = "10.77.0",
        docker: bool = True,
        images: tuple[str, ...] = (),
    ) -> None:
        self.size, self.name, self.net, self.with_docker, self.images = hosts, name, net, docker, images
        self.dir = Path(f"/tmp/remuda-bed-{name}")
        self.env = {**os.environ, "BED": str(self.dir), "BED_NET": net, "BED_PREFIX": name}
        self.env.pop("DOCKER_HOST", None)

    # -- life ------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self.down()
        if self.images:
            self.env["BED_SEED"] = str(seed(self.images))
        try:
            self.up(self.size)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self, hosts: int) -> None:
        """Start, or grow to, that many hosts."""
        self.size = max(self.size, hosts)
        self.run("up", hosts, *([] if self.with_docker else ["--no-docker"]), timeout=400)

    def down(self) -> None:
        """Stop and delete everything."""
        self.run("down", "--purge", timeout=400)

    # -- commands --------------------------------------------------------------------------------------------------
    def run(self, *args: object, timeout: float = 60, check: bool = True, text: str | None = None) -> str:
        """A command of the script ``bed``; its output."""
        command = [str(HERE / "bed"), *map(str, args)]
        done = subprocess.run(
            command, env=self.env, input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise BedError(f"bed {' '.join(command[1:])[:300]}: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout

    def exec(
        self, host: Host, *command: object, timeout: float = 60, check: bool = True, text: str | None = None
    ) -> str:
        """Run a command on a host and return its output."""
        return self.run("exec", host, *command, timeout=timeout, check=check, text=text)

    def spawn(self, host: Host, name: str, *command: object) -> Path:
        """Run a command on a host in the background; returns its log."""
        subprocess.run(
            [str(HERE / "bed"), "spawn", str(host), name, *map(str, command)],
            env=self.env, check=True, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return self.disk(host) / "log" / f"{name}.log"

    def stop(self, host: Host, name: str, signal: str = "TERM") -> None:
        """Signal what was spawned under that name."""
        self.run("stop", host, name, signal)

    def docker(self, host: int, *args: object, timeout: float = 60, check: bool = True) -> str:
        """The docker command against a host's engine; output without the last line break."""
        return self.run("docker", host, *args, timeout=timeout, check=check).rstrip("\n")

    def load(self, image: str, *hosts: int) -> None:
        """Copy an image from the build daemon to these hosts, or to all, at once."""
        if not hosts:
            self.run("load", "all", image, timeout=300)
            return
        self.each(lambda host: self.run("load", host, image, timeout=300), hosts)

    def each(self, do: Callable[[int], T], hosts: tuple[int, ...] | range | list[int]) -> list[T]:
        """The same on several hosts at the same time; the first error is raised after all have ended."""
        with ThreadPoolExecutor(max(1, len(hosts))) as pool:
            return list(pool.map(do, hosts))

    # -- faults ----------------------------------------------------------------------------------------------------
    def kill(self, host: Host) -> None:
        """Power off: the network falls silent, every process is gone."""
        self.run("kill", host)

    def boot(self, host: Host) -> None:
        """Power on, with the disks as they were."""
        self.run("boot", host, timeout=120)

    def wipe(self, host: Host) -> None:
        """Empty disks for a host that is off."""
        self.run("wipe", host)

    def cut(self, host: Host) -> None:
        """Pull the network cable."""
        self.run("cut", host)

    def heal(self, host: Host) -> None:
        """Plug it in."""
        self.run("heal", host)

    def pause(self, host: Host) -> None:
        """Freeze the host, containers included."""
        self.run("pause", host)

    def unpause(self, host: Host) -> None:
        """Let it run on."""
        self.run("unpause", host)

    # -- facts -----------------------------------------------------------------------------------------------------
    def ip(self, host: Host) -> str:
        """The host's address on the bed's network."""
        return f"{self.net}.{100 if host == X else 10 + int(host)}"

    def disk(self, host: Host) -> Path:
        """The host's directory on this machine."""
        return self.dir / (X if host == X else f"h{host}")

    def socket(self, host: int) -> str:
        """The engine's socket as seen from this machine."""
        pid = (self.disk(host) / "init.pid").read_text().strip()
        return f"/proc/{pid}/root/run/docker.sock"

    def api(self, host: int, path: str, timeout: float = 5) -> Any:
        """GET from the engine's API: ten times cheaper than the docker command, for polling."""
        connection = _UnixConnection(self.socket(host), timeout)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        if answer.status >= 400:
            raise BedError(f"{path}: {body.decode(errors='replace')[:200]}")
        return json.loads(body)

    def containers(self, host: int, **labels: str) -> list[dict[str, Any]]:
        """Running containers of a host, those with these labels."""
        found = self.api(host, "/containers/json")
        return [c for c in found if all(c["Labels"].get(k) == v for k, v in labels.items())]

    def cpu_seconds(self, host: Host | None = None) -> float:
        """CPU time used so far by a host, or by the whole bed (cgroup v1 or v2)."""
        below = self.name if host is None else f"{self.name}/{self.disk(host).name}"
        old = Path("/sys/fs/cgroup/cpuacct", below, "cpuacct.usage")
        if old.exists():
            return int(old.read_text()) / 1e9
        stat = Path("/sys/fs/cgroup", below, "cpu.stat").read_text().split()
        return int(stat[stat.index("usage_usec") + 1]) / 1e6


def seed(images: tuple[str, ...]) -> Path:
    """A Docker data folder that holds these images of the build daemon: hosts that start as its copy need no loading.

    Kept beside the build daemon's data until the images change; copying takes a second where loading takes ten.
    """
    ids = []
    for image in images:
        command = ["docker", "-H", f"unix://{BUILD_DIR}/docker.sock", "image", "inspect", "-f", "{{.Id}}", image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise BedError(f"the build daemon has no image {image}: {done.stderr.strip()} (make images)")
        ids.append(f"{image}={done.stdout.strip()}")
    folder = BUILD_DIR / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            older = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
            for path in older[: -(KEPT_SEEDS - 1)]:
                shutil.rmtree(path, ignore_errors=True)
            _make_seed(images, wanted)
        os.utime(wanted)
    return wanted


def _make_seed(images: tuple[str, ...], place: Path) -> None:
    with Bed(1, name="seed", net="10.78.7") as bed:
        bed.run("load", 1, *images, timeout=300)
        bed.exec(1, "sh", "-c", "kill $(cat /run/docker.pid)")
        until("dockerd has ended", lambda: not Path(bed.socket(1)).with_suffix(".pid").exists(), 30)
        data = bed.disk(1) / "disk" / "docker"
        bed.run("kill", 1)
        shutil.move(data, place)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@contextlib.contextmanager
def build_daemon() -> Iterator[str]:
    """A Docker daemon to build images with: the one of testbed/builddaemon, stopped at the end if we started it."""
    script = str(HERE / "builddaemon")
    address = f"unix://{BUILD_DIR}/docker.sock"
    probe = ["docker", "-H", address, "version"]
    running = subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0
    if not running:
        done = subprocess.run([script, "up"], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise BedError(done.stderr.strip()[-600:])
    try:
        yield address
    finally:
        if not running:
            subprocess.run([script, "down"], capture_output=True, timeout=60, check=False)

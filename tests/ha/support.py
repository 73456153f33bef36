"""What several tests of this room need: a rendered generation on a disk, and a Docker engine with names and labels."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remuda.ha.config import HaInput, validate
from remuda.ha.script import Database, HaSecrets, fingerprint, new_secrets, render
from remuda.ports.engine import EngineDown, EngineError

NOW = datetime.now(UTC)
DATABASE = Database(host="127.0.0.1", port=3306, password="it's $ecret")


def unpack(script: bytes, home: Path) -> None:
    """Do what the script does with its files, without the rest of it."""
    text = script.decode()
    number = re.search(r"^GENERATION=(\d+)$", text, re.M)
    mark = re.search(r"^FINGERPRINT=(\w+)$", text, re.M)
    assert number is not None
    assert mark is not None
    directory = home / "generations" / "1"
    directory.mkdir(parents=True, exist_ok=True)
    for found in re.finditer(r'^cat >"\$new\.part/([\w.-]+)" <<\'(\S+)\'\n(.*?)\n\2$', text, re.M | re.S):
        (directory / found[1]).write_text(found[3] + "\n")
    link = home / "current"
    if not link.is_symlink():
        link.symlink_to("generations/1")


def generation_on_disk(home: Path, size: int = 3, **given: Any) -> HaSecrets:
    """Make a generation and put it where a node looks for it."""
    wanted = HaInput(cluster_size=size, host_registration_url="https://lb.example.com", **given)
    config, problems = validate(wanted, NOW)
    assert config is not None, problems
    secrets = new_secrets(config, wanted, now=NOW)
    assert fingerprint(config, secrets)
    unpack(render(config, secrets, DATABASE, "remuda/server", 1), home)
    return secrets


class Docker:
    """An engine that keeps containers with names and labels; ``calls`` says what was asked of it."""

    def __init__(self) -> None:
        self.boxes: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.signals: list[tuple[str, str]] = []
        self.down = False
        self.crashing: set[str] = set()
        self._ids = itertools.count(1)

    def _call(self, name: str) -> None:
        if self.down:
            raise EngineDown("connection refused")
        self.calls[name] += 1

    def _box(self, container: str) -> dict[str, Any]:
        if container in self.boxes:
            return self.boxes[container]
        for box in self.boxes.values():
            if box["Id"] == container:
                return box
        raise EngineError(404, f"No such container: {container}")

    async def containers(self) -> list[dict[str, Any]]:
        self._call("containers")
        return [
            {"Id": b["Id"], "Names": [f"/{name}"], "State": b["State"], "Labels": b["Config"].get("Labels", {})}
            for name, b in self.boxes.items()
        ]

    async def inspect(self, container: str) -> dict[str, Any]:
        self._call("inspect")
        return {"Image": "sha256:own", **self._box(container)}

    async def create(self, name: str, config: dict[str, Any]) -> str:
        self._call("create")
        if name in self.boxes:
            raise EngineError(409, "the name is in use")
        self.boxes[name] = {"Id": f"id{next(self._ids)}", "State": "created", "Config": config}
        return str(self.boxes[name]["Id"])

    async def start(self, container: str) -> None:
        self._call("start")
        self._box(container)["State"] = "restarting" if container in self.crashing else "running"

    async def stop(self, container: str, timeout: int) -> None:
        self._call("stop")
        self._box(container)["State"] = "exited"

    async def kill(self, container: str, signal: str = "SIGKILL") -> None:
        self._call("kill")
        self.signals.append((container, signal))
        if signal == "SIGKILL":
            self._box(container)["State"] = "exited"

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        self._call("remove")
        self.boxes = {n: b for n, b in self.boxes.items() if container not in (n, b["Id"])}

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        self._call("logs")
        yield "err", b"first\nbind: address in use\n"

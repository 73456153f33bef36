"""A Docker engine in memory: keeps containers, refuses what Docker refuses, tells events. Its containers run nothing.

The engine of simulated hosts, and below the tests' own. It has every image, answers at once, and forgets all with its process.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from remuda.ports.engine import Document, EngineError, ExecStream

NEVER = "0001-01-01T00:00:00Z"
BRIDGE = "172.17.0"
FIRST_PORT = 32768
TERMINATED, KILLED = 143, 137


class Echo:
    """A command that says what it is; then what is written to it comes out again, until its input is closed."""

    def __init__(self, command: list[str], *, stdin: bool) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._queue.put_nowait(("out", (" ".join(command) + "\n").encode()))
        if not stdin:
            self._queue.put_nowait(("", b""))

    async def read(self) -> tuple[str, bytes]:
        """What it says next."""
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        """To its input."""
        self._queue.put_nowait(("out", data) if data else ("", b""))

    async def resize(self, width: int, height: int) -> None:
        """A terminal that nobody looks at."""

    async def exit_code(self) -> int:
        """It always goes well."""
        return 0

    async def close(self) -> None:
        """Nothing is held."""


class MemoryEngine:
    """One engine. ``boxes`` are its containers by id, as ``docker inspect`` shows them."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.boxes: dict[str, Document] = {}
        self.networks: dict[str, Document] = {}
        self.disks: dict[str, Document] = {}
        self._ports = itertools.count(FIRST_PORT)
        self._listeners: set[asyncio.Queue[Document | None]] = set()

    # ---- what happens to containers by itself ---------------------------------------------------------------------------

    def end(self, container: str, code: int = 1) -> None:
        """The container's process ends by itself."""
        state = self.find(container)["State"]
        if state["Running"]:
            state.update(Status="exited", Running=False, ExitCode=code, FinishedAt=self.stamp())
            self._tell("die", container)

    def by_hand(self, name: str, image: str = "busybox", container: str = "") -> str:
        """Somebody runs ``docker run`` on the host."""
        made = self._add(name, {"Image": image, "Labels": {}}, container)
        self._run(made)
        return made

    def vanish(self, container: str) -> None:
        """It is gone, as if somebody had removed it."""
        if container in self.boxes:
            self._tell("destroy", container)
            del self.boxes[container]

    # ---- Engine ---------------------------------------------------------------------------------------------------------

    async def ping(self) -> None:
        """It answers."""
        await self.answer("ping")

    async def info(self) -> Document:
        """As little as an agent asks for."""
        await self.answer("info")
        return {"ServerVersion": "20.10.24", "Name": self.name, "Driver": "memory", "OperatingSystem": "Simulated",
                "_version": {}}  # fmt: skip

    async def containers(self) -> list[Document]:
        """Ids and states."""
        await self.answer("containers")
        return [{"Id": box["Id"], "State": box["State"]["Status"]} for box in self.boxes.values()]

    async def inspect(self, container: str) -> Document:
        """One container."""
        await self.answer("inspect")
        box = self.find(container)
        return {**box, "State": dict(box["State"])}

    async def create(self, name: str, config: Document) -> str:
        """Make a container; its name must be free and its image here."""
        await self.answer("create")
        if any(box["Name"] == f"/{name}" for box in self.boxes.values()):
            raise EngineError(409, f'Conflict. The container name "/{name}" is already in use')
        if not self.has(str(config["Image"])):
            raise EngineError(404, f"No such image: {config['Image']}")
        container = self._add(name, config)
        self._tell("create", container)
        return container

    async def start(self, container: str) -> None:
        """Let it run."""
        await self.answer("start")
        if not self.find(container)["State"]["Running"]:
            self._run(container)

    async def stop(self, container: str, timeout: int) -> None:
        """It obeys at once."""
        await self.answer("stop")
        self.end(container, TERMINATED)

    async def kill(self, container: str, signal: str = "SIGKILL") -> None:
        """It dies."""
        await self.answer("kill")
        self.end(container, KILLED)

    async def remove(self, container: str, *, force: bool = False, volumes: bool = True) -> None:
        """Take it away; one that runs only by force."""
        await self.answer("remove")
        box = self.boxes.get(container)
        if box is not None and box["State"]["Running"] and not force:
            raise EngineError(409, "You cannot remove a running container")
        self.vanish(container)

    async def has_image(self, image: str) -> bool:
        """Is it here?"""
        await self.answer("has_image")
        return self.has(image)

    async def pull(self, image: str, auth: str, progress: Callable[[int, str], None]) -> None:
        """It is here already."""
        await self.answer("pull")

    async def logs(
        self, container: str, *, follow: bool, lines: int, timestamps: bool, since: int = 0
    ) -> AsyncIterator[tuple[str, bytes]]:
        """One line that says what it is."""
        await self.answer("logs")
        box = self.find(container)
        stamp = f"{box['State']['StartedAt']} " if timestamps else ""
        yield "out", f"{stamp}{box['Name'].lstrip('/')} is simulated\n".encode()
        if follow:
            await asyncio.Event().wait()

    async def exec(self, container: str, command: list[str], *, tty: bool, stdin: bool) -> ExecStream:
        """An echo."""
        await self.answer("exec")
        self.find(container)
        return Echo(command, stdin=stdin)

    async def attach(self, container: str) -> ExecStream:
        """An echo, too: its terminal is as simulated as itself."""
        await self.answer("attach")
        return Echo([self.find(container)["Name"].lstrip("/")], stdin=True)

    async def dial(self) -> ExecStream:
        """There is nothing to talk to."""
        await self.answer("dial")
        raise EngineError(501, "A simulated engine has no socket")

    async def stats(self, container: str) -> AsyncIterator[Document]:
        """A container at rest."""
        await self.answer("stats")
        while self.find(container)["State"]["Running"]:
            yield {"read": self.stamp(), "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {"usage": 0}}
            await asyncio.sleep(1.0)

    async def events(self) -> AsyncIterator[Document]:
        """What happens to containers from now on."""
        await self.answer("events")
        queue: asyncio.Queue[Document | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield {}
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    async def network(self, name: str) -> Document | None:
        """One network."""
        await self.answer("network")
        return self.networks.get(name)

    async def create_network(self, document: Document) -> None:
        """Make one."""
        await self.answer("create_network")
        self.networks[document["Name"]] = {**document, "Containers": {}}

    async def remove_network(self, name: str) -> None:
        """Take it away, unless it is used."""
        await self.answer("remove_network")
        if self._network(name)["Containers"]:
            raise EngineError(403, f"network {name} has active endpoints")
        del self.networks[name]

    async def connect_network(self, name: str, container: str, address: str) -> None:
        """Attach a container."""
        await self.answer("connect_network")
        box, members = self.find(container), self._network(name)["Containers"]
        if container in members:
            raise EngineError(403, f"endpoint with name {box['Name']} already exists in network {name}")
        members[container] = {"IPv4Address": f"{address}/16"}
        box["NetworkSettings"].setdefault("Networks", {})[name] = {"IPAddress": address}

    async def disconnect_network(self, name: str, container: str) -> None:
        """Take a container off."""
        await self.answer("disconnect_network")
        box = self.find(container)
        if self._network(name)["Containers"].pop(container, None) is None:
            raise EngineError(403, f"container {container} is not connected to network {name}")
        del box["NetworkSettings"]["Networks"][name]

    async def volumes(self) -> list[Document]:
        """Named volumes."""
        await self.answer("volumes")
        return [dict(disk) for disk in self.disks.values()]

    async def create_volume(self, name: str, driver: str, options: dict[str, str]) -> None:
        """Make one, unless it is there."""
        await self.answer("create_volume")
        there = self.disks.get(name)
        if there is not None and there["Driver"] != driver:
            raise EngineError(409, f"a volume named {name} already exists with the {there['Driver']} driver")
        self.disks.setdefault(name, _disk(name, driver, options))

    async def remove_volume(self, name: str) -> None:
        """Take it away, unless a container has it."""
        await self.answer("remove_volume")
        users = [box["Name"].lstrip("/") for box in self.boxes.values() if name in _disks_of(box)]
        if users:
            raise EngineError(409, f"remove {name}: volume is in use - [{', '.join(users)}]")
        self.disks.pop(name, None)

    async def close(self) -> None:
        """Streams of events end."""
        self.hang_up()

    # ---- for engines that differ ----------------------------------------------------------------------------------------

    async def answer(self, call: str) -> None:
        """Before every call: raise ``EngineDown`` where nobody answers."""

    def has(self, image: str) -> bool:
        """Is an image here?"""
        return True

    def new_id(self) -> str:
        """The id of the next container."""
        return str(uuid.uuid4())

    def stamp(self) -> str:
        """Now, as Docker writes it."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"

    def find(self, container: str) -> Document:
        """A container by its id or name."""
        box = self.boxes.get(container)
        if box is None:
            box = next((box for box in self.boxes.values() if box["Name"] == f"/{container}"), None)
        if box is None:
            raise EngineError(404, f"No such container: {container}")
        return box

    def hang_up(self) -> None:
        """End the streams of events."""
        for listener in self._listeners:
            listener.put_nowait(None)

    # ---- inside ---------------------------------------------------------------------------------------------------------

    def _network(self, name: str) -> Document:
        if name not in self.networks:
            raise EngineError(404, f"network {name} not found")
        return self.networks[name]

    def _add(self, name: str, config: Document, container: str = "") -> str:
        container = container or self.new_id()
        self.boxes[container] = {
            "Id": container,
            "Name": f"/{name}",
            "Created": self.stamp(),
            "Config": {"Labels": {}, **config},
            "HostConfig": config.get("HostConfig", {}),
            "Mounts": self._mounts(config),
            "NetworkSettings": {"IPAddress": "", "Ports": {}},
            "State": {"Status": "created", "Running": False, "ExitCode": 0, "StartedAt": NEVER, "FinishedAt": NEVER},
        }
        return container

    def _mounts(self, config: Document) -> list[Document]:
        """Named volumes of a container: Docker makes those that are not there."""
        found = []
        for bind in config.get("HostConfig", {}).get("Binds") or []:
            name, path, *mode = bind.split(":")
            if not name.startswith("/"):
                self.disks.setdefault(name, _disk(name, "local", {}))
                found.append({"Type": "volume", "Name": name, "Destination": path, "RW": "ro" not in mode})
        return found

    def _run(self, container: str) -> None:
        box = self.find(container)
        box["State"].update(Status="running", Running=True, StartedAt=self.stamp())
        box["NetworkSettings"].update(self._attached(box["Config"]))
        self._tell("start", container)

    def _attached(self, config: Document) -> Document:
        """Addresses and published ports of a container that runs."""
        asked = (config.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        addresses = {name: (end.get("IPAMConfig") or {}).get("IPv4Address", "") for name, end in asked.items()}
        bindings = (config.get("HostConfig") or {}).get("PortBindings") or {}
        ports = {
            key: [{**one, "HostPort": one.get("HostPort") or str(next(self._ports))} for one in wanted]
            for key, wanted in bindings.items()
        }
        if any(addresses.values()):
            return {"Networks": {name: {"IPAddress": ip} for name, ip in addresses.items()}, "Ports": ports}
        return {"IPAddress": f"{BRIDGE}.2", "Ports": ports}

    def _tell(self, action: str, container: str) -> None:
        attributes: dict[str, Any] = dict(self.find(container)["Config"]["Labels"])
        event = {"Type": "container", "Action": action, "Actor": {"ID": container, "Attributes": attributes}}
        for listener in self._listeners:
            listener.put_nowait(event)


def _disk(name: str, driver: str, options: dict[str, str]) -> Document:
    return {"Name": name, "Driver": driver, "Options": options, "Mountpoint": f"/disks/{name}"}


def _disks_of(box: Document) -> list[str]:
    return [mount["Name"] for mount in box["Mounts"]]

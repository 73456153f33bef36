"""Statistics of containers, or of the host, once a second, in the array form that 1.x clients read.

Counters are cumulative, as the engine and the kernel keep them; who shows them takes differences.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from remuda.agent.watch import closing
from remuda.ports.engine import Document, Engine, EngineError

_NANOSECONDS_PER_TICK = 10_000_000
_SECTOR = 512


class StatsFeed:
    """``wanted`` maps Docker ids to the public ids to show; empty = the host."""

    def __init__(self, engine: Engine, wanted: Mapping[str, str], proc: Path = Path("/proc")) -> None:
        self._engine, self._wanted, self._proc = engine, wanted, proc
        self._newest: dict[str, Document] = {}

    async def documents(self) -> AsyncIterator[bytes]:
        """A JSON array a second; ends when every container has."""
        readers = {key: asyncio.create_task(self._follow(key)) for key in self._wanted}
        try:
            while True:
                if readers:
                    entries = [container_stats(self._wanted[key], self._newest.pop(key)) for key in list(self._newest)]
                else:
                    entries = [host_stats(self._proc)]
                if entries:
                    yield msgspec.json.encode(entries)
                elif readers and all(task.done() for task in readers.values()):
                    return
                await asyncio.sleep(1.0)
        finally:
            for task in readers.values():
                task.cancel()
            await asyncio.gather(*readers.values(), return_exceptions=True)

    async def _follow(self, container: str) -> None:
        with contextlib.suppress(EngineError):
            async with closing(self._engine.stats(container)) as documents:
                async for document in documents:
                    self._newest[container] = document


def container_stats(public_id: str, document: Document) -> dict[str, Any]:
    """One entry out of Docker's document."""
    cpu = (document.get("cpu_stats") or {}).get("cpu_usage") or {}
    memory = document.get("memory_stats") or {}
    # the page cache can be dropped at any time: what counts against the limit is the rest
    cache = (memory.get("stats") or {}).get("total_inactive_file", (memory.get("stats") or {}).get("inactive_file", 0))
    interfaces = [
        {"name": name, "rx_bytes": counters.get("rx_bytes", 0), "tx_bytes": counters.get("tx_bytes", 0)}
        for name, counters in (document.get("networks") or {}).items()
    ]
    blocks = (document.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    return {
        "id": public_id,
        "resourceType": "container",
        "timestamp": str(document.get("read", "")),
        "cpu": {
            "usage": {
                "total": cpu.get("total_usage", 0),
                "per_cpu_usage": cpu.get("percpu_usage") or [],
                "user": cpu.get("usage_in_usermode", 0),
                "system": cpu.get("usage_in_kernelmode", 0),
            }
        },
        "memory": {"usage": max(0, memory.get("usage", 0) - cache), "limit": memory.get("limit", 0)},
        "network": {"interfaces": interfaces},
        "diskio": {"io_service_bytes": _blocks(blocks)},
    }


def host_stats(proc: Path = Path("/proc")) -> dict[str, Any]:
    """One entry for the whole machine."""
    total, cores = _processor(proc)
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in (proc / "meminfo").read_text().splitlines()
        if ":" in line
    }
    return {
        "id": "",
        "resourceType": "host",
        "timestamp": datetime.now(UTC).isoformat(),
        "cpu": {"usage": {"total": total, "per_cpu_usage": cores}},
        "memory": {
            "usage": memory.get("MemTotal", 0) - memory.get("MemAvailable", 0),
            "limit": memory.get("MemTotal", 0),
        },
        "network": {"interfaces": _interfaces(proc)},
        "diskio": {"io_service_bytes": _disks(proc)},
    }


def _blocks(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[str, int] = {}
    for entry in entries:
        word = str(entry.get("op", "")).capitalize()
        if word in ("Read", "Write"):
            sums[word] = sums.get(word, 0) + int(entry.get("value", 0))
    return [{"stats": sums}] if sums else []


def _processor(proc: Path) -> tuple[int, list[int]]:
    busy = {}
    for line in (proc / "stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu"):
            ticks = [int(number) for number in numbers[:8]]
            busy[name] = (sum(ticks) - ticks[3] - ticks[4]) * _NANOSECONDS_PER_TICK
    total = busy.pop("cpu", 0)
    return total, list(busy.values())


def _interfaces(proc: Path) -> list[dict[str, Any]]:
    found = []
    for line in (proc / "net/dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() != "lo" and not name.strip().startswith("veth"):
            found.append({"name": name.strip(), "rx_bytes": int(numbers[0]), "tx_bytes": int(numbers[8])})
    return found


def _disks(proc: Path) -> list[dict[str, Any]]:
    sums = {"Read": 0, "Write": 0}
    for line in (proc / "diskstats").read_text().splitlines():
        numbers = line.split()
        if not numbers[2].startswith(("loop", "ram", "dm-")) and not numbers[2][-1:].isdecimal():
            sums["Read"] += int(numbers[5]) * _SECTOR
            sums["Write"] += int(numbers[9]) * _SECTOR
    return [{"stats": sums}]

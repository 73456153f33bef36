"""What the agent tells of its machine: name, address, labels, and the ``info`` document of the 1.x API.

Read from /proc, /sys and Docker's info; nothing is run. Volatile figures (load, free memory) travel at most every 30 s and
only when they moved noticeably, so that a quiet host costs the server no writes.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from remuda.core import labels
from remuda.core.wire import HostFacts
from remuda.ports.engine import Document

MEBI = 1024 * 1024
ELSEWHERE = "192.0.2.1"
"""An address of no network (RFC 5737): what the default route leads to."""
_NOTICEABLE = 0.10
"""A figure of CPU, memory or disk that moved by less than this share of the whole is not worth a message."""


class CpuSampler:
    """Busy percentages per core between two looks at /proc/stat."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._path = proc / "stat"
        self._last: dict[str, tuple[int, int]] = {}

    def percentages(self) -> list[float]:
        """One figure per core since the previous call; zeros at the first."""
        figures = []
        for line in _read(self._path).splitlines():
            name, *numbers = line.split()
            if not name.startswith("cpu") or name == "cpu":
                continue
            ticks = [int(number) for number in numbers[:8]]
            total, idle = sum(ticks), ticks[3] + ticks[4]
            last_total, last_idle = self._last.get(name, (total, idle))
            span = total - last_total
            figures.append(round(100.0 * (1 - (idle - last_idle) / span), 1) if span > 0 else 0.0)
            self._last[name] = (total, idle)
        return figures


def host_labels(environment: Mapping[str, str], given: Mapping[str, str], kernel: str, docker: str) -> dict[str, str]:
    """Automatic labels, then ``CATTLE_HOST_LABELS`` (a query string), then those of the command line; the last wins."""
    found = {labels.HOST_KERNEL_VERSION: _two(kernel), labels.HOST_DOCKER_VERSION: _two(docker)}
    found = {key: value for key, value in found.items() if value}
    found.update(parse_qsl(environment.get("CATTLE_HOST_LABELS", ""), keep_blank_values=True))
    return {**found, **given}


def agent_address(environment: Mapping[str, str], source: str, detected: str = "") -> str:
    """Where other hosts reach this one: as told, else ``source`` (our end of the connection to the server), else the address
    that this machine uses toward the rest of the world, else what the server saw when we registered."""
    told = environment.get("CATTLE_AGENT_IP", "")
    if told:
        return told
    for address in (source, source_address(ELSEWHERE, 9)):
        if address and not address.startswith("127.") and address != "::1":
            return address
    return environment.get("DETECTED_CATTLE_AGENT_IP", "") or detected or source


def source_address(host: str, port: int) -> str:
    """The address this machine would use toward ``host``; no packet is sent."""
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind, proto) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
    except OSError:
        return ""
    return ""


class Machine:
    """Collects :class:`HostFacts`. ``root`` is where the host's files are seen (``/proc/1/root`` in a container)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        given: Mapping[str, str],
        *,
        proc: Path = Path("/proc"),
        root: Path = Path("/"),
    ) -> None:
        self._environment, self._given = environment, given
        self._proc, self._root = proc, root
        self._cpu = CpuSampler(proc)
        self._cpu.percentages()  # the first look only sets the mark that the next is measured from

    def facts(self, address: str, docker: Document, *, up: bool, message: str) -> HostFacts:
        """Everything, now."""
        kernel = platform.release()
        version = str(docker.get("ServerVersion", ""))
        return HostFacts(
            hostname=self._environment.get("CATTLE_HOSTNAME") or str(docker.get("Name", "")) or socket.gethostname(),
            agent_ip=address,
            labels=host_labels(self._environment, self._given, kernel, version),
            info=self._info(docker, kernel, version),
            docker="up" if up else "down",
            docker_message=message,
            docker_version=version,
            kernel=kernel,
        )

    def _info(self, docker: Document, kernel: str, version: str) -> dict[str, Any]:
        percentages = self._cpu.percentages()
        model, megahertz = self._processor()
        memory = self._memory()
        return {
            "cpuInfo": {
                "count": len(percentages) or os.cpu_count() or 1,
                "mhz": megahertz,
                "modelName": model,
                "cpuCoresPercentages": percentages,
                "loadAvg": [float(part) for part in _read(self._proc / "loadavg").split()[:3]],
            },
            "memoryInfo": memory,
            "diskInfo": {
                "mountPoints": self._mounts(str(docker.get("DockerRootDir", ""))),
                "dockerStorageDriver": str(docker.get("Driver", "")),
            },
            "osInfo": {
                "operatingSystem": str(docker.get("OperatingSystem", "")) or self._system(),
                "kernelVersion": kernel,
                "dockerVersion": f"Docker version {version}" if version else "",
            },
        }

    def _processor(self) -> tuple[str, float]:
        model, megahertz = "", 0.0
        for line in _read(self._proc / "cpuinfo").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and not model:
                model = value.strip()
            elif key.strip() == "cpu MHz" and not megahertz:
                megahertz = float(value)
        return model, megahertz

    def _memory(self) -> dict[str, int]:
        wanted = {
            "MemTotal": "memTotal",
            "MemFree": "memFree",
            "MemAvailable": "memAvailable",
            "Buffers": "buffers",
            "Cached": "cached",
            "SwapTotal": "swapTotal",
            "SwapFree": "swapFree",
        }
        found = {}
        for line in _read(self._proc / "meminfo").splitlines():
            key, _, value = line.partition(":")
            if key in wanted:
                found[wanted[key]] = int(value.split()[0]) // 1024
        return found

    def _mounts(self, docker_root: str) -> dict[str, dict[str, int]]:
        points = {}
        for path in ("/", docker_root):
            if not path:
                continue
            try:
                stat = os.statvfs(self._root / path.lstrip("/"))
            except OSError:
                continue
            total, free = stat.f_blocks * stat.f_frsize // MEBI, stat.f_bavail * stat.f_frsize // MEBI
            points[path] = {"total": total, "used": total - free, "free": free}
        return points

    def _system(self) -> str:
        for line in _read(self._root / "etc/os-release").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
        return platform.system()


def material(before: HostFacts | None, after: HostFacts) -> bool:
    """Is ``after`` worth a message?"""
    if before is None:
        return True
    fixed = (
        "hostname", "agent_ip", "labels", "docker", "docker_message", "docker_version", "kernel", "network", "network_message",
        "network_keys", "network_use", "link_mtu",
    )  # fmt: skip
    if any(getattr(before, name) != getattr(after, name) for name in fixed):
        return True
    if before.info.get("osInfo") != after.info.get("osInfo"):
        return True
    old_cpu, new_cpu = before.info.get("cpuInfo", {}), after.info.get("cpuInfo", {})
    if old_cpu.get("count") != new_cpu.get("count") or old_cpu.get("modelName") != new_cpu.get("modelName"):
        return True
    if abs(_busy(old_cpu) - _busy(new_cpu)) > 100 * _NOTICEABLE:
        return True
    old_memory, new_memory = before.info.get("memoryInfo", {}), after.info.get("memoryInfo", {})
    if _moved(old_memory, new_memory, "memAvailable", "memTotal"):
        return True
    old_disks, new_disks = (info.get("diskInfo", {}).get("mountPoints", {}) for info in (before.info, after.info))
    if old_disks.keys() != new_disks.keys():
        return True
    return any(_moved(old_disks[path], new_disks[path], "free", "total") for path in new_disks)


def _busy(cpu: Mapping[str, Any]) -> float:
    cores = cpu.get("cpuCoresPercentages") or [0.0]
    return float(sum(cores) / len(cores))


def _moved(before: Mapping[str, int], after: Mapping[str, int], figure: str, total: str) -> bool:
    if before.get(total) != after.get(total):
        return True
    return abs(before.get(figure, 0) - after.get(figure, 0)) > _NOTICEABLE * max(1, after.get(total, 1))


def _two(version: str) -> str:
    """``6.1.0-13-amd64`` as ``6.1``, the way scheduling rules name it."""
    parts = version.split("-")[0].split("+")[0].split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else version


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

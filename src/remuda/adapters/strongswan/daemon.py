"""charon as a process: started with a configuration of our own, taken over from a predecessor, ended, its log kept short.

It gets sockets and files of its own, so it neither reads nor disturbs a strongSwan that the machine may have; but two of them
cannot share the ports 500 and 4500. It goes on without us: encryption in user space must not pause when we are replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from remuda.adapters.strongswan.kernel import KERNEL
from remuda.adapters.strongswan.vici import Line, ViciError
from remuda.ports.tunnels import TunnelError

PROGRAMS = ("/usr/lib/ipsec/charon", "/usr/libexec/ipsec/charon", "/usr/lib/strongswan/charon")
START_SECONDS, STOP_SECONDS = 10.0, 5.0
LOG_BYTES = 1_000_000
SOCKET, LOG, CONF, PID = "charon.vici", "charon.log", "strongswan.conf", "charon.pid"
OWN_PID_FILES = (Path("/var/run/charon.pid"), Path("/etc/ipsec.d/run/charon.pid"))
"""Where charon itself looks for another one; the place is compiled in."""
CONFIGURATION = """\
charon {{
  load_modular = no
  load = random nonce openssl kdf {kernel} socket-default vici
  install_virtual_ip = no
  retransmit_tries = 4
  retransmit_timeout = 1.5
  retransmit_base = 1.4
  retransmit_limit = 3
  ikesa_table_size = 64
  ikesa_table_segments = 4
  plugins {{
    vici {{ socket = unix://{socket} }}
    kernel-netlink {{ roam_events = no }}
  }}
  filelog {{
    log {{
      path = {log}
      time_format = %Y-%m-%dT%H:%M:%S
      append = yes
      flush_line = yes
      default = 1
      enc = 0
      net = 0
      ike_name = yes
    }}
  }}
}}
"""
"""A dead peer is given up after about 11 s. Containers come and go with their devices, for which charon is not to look at all its
paths again. The log is written at levels that hold no keys."""


class Daemon:
    """``folder`` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self.pid, self._born = 0, ""

    @property
    def socket(self) -> Path:
        """Where it is spoken to."""
        return self._folder / SOCKET

    @property
    def alive(self) -> bool:
        """Does it run?"""
        if self._child is not None and self._child.poll() is not None:
            return False
        return bool(self.pid) and _born(self.pid) == self._born

    async def start(self, mode: str) -> None:
        """Take over the one that runs with the same configuration, or start one. Raises :class:`TunnelError`."""
        text = CONFIGURATION.format(
            kernel="kernel-netlink" if mode == KERNEL else "kernel-libipsec kernel-netlink",
            socket=self.socket, log=self._folder / LOG,
        )  # fmt: skip
        self._remember()
        if self.alive and self._read(CONF) == text and await self._answers():
            return
        await self.stop()
        program = next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")
        if not program:
            raise TunnelError(
                "strongSwan's charon is not installed on this machine; install strongswan-charon and "
                "libstrongswan-standard-plugins, or set the network's encryption to plain"
            )
        await asyncio.to_thread(self._launch, program, text)
        end = asyncio.get_running_loop().time() + START_SECONDS
        while not await self._answers():
            if not self.alive or asyncio.get_running_loop().time() > end:
                words = self._last_words()
                await self.stop()
                raise TunnelError(f"charon does not start: {words}")
            await asyncio.sleep(0.05)

    def _launch(self, program: str, text: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.shorten()
        (self._folder / CONF).write_text(text)
        self.socket.unlink(missing_ok=True)
        for path in OWN_PID_FILES:
            forget_dead(path)
        try:
            self._child = subprocess.Popen(
                [program],
                env={**os.environ, "STRONGSWAN_CONF": str(self._folder / CONF)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise TunnelError(f"charon cannot be started: {error}") from None
        self.pid = self._child.pid
        self._born = _born(self.pid)
        (self._folder / PID).write_text(f"{self.pid} {self._born}\n")

    def _remember(self) -> None:
        if not self.pid:
            pid, _, born = self._read(PID).strip().partition(" ")
            self.pid, self._born = (int(pid), born) if pid.isdecimal() else (0, "")

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(errors="replace")
        except OSError:
            return ""

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(2):
                line = await Line.open(self.socket)
                await line.ask("version")
                await line.close()
        except (OSError, EOFError, ViciError, TimeoutError):
            return False
        return True

    def shorten(self) -> None:
        """Keep the log within bounds. charon appends, so it may be cut while it writes."""
        log = self._folder / LOG
        with contextlib.suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.old"))
                os.truncate(log, 0)

    def _last_words(self) -> str:
        lines = self._read(LOG).splitlines()
        wrong = [
            line for line in lines[-60:] if any(word in line for word in ("failed", "unable", "could not", "bind"))
        ]
        return (wrong or lines or ["it said nothing; does another IKE daemon use the ports 500 and 4500?"])[-1]

    async def stop(self) -> None:
        """End it; its tunnels end with it, and the other hosts are told."""
        self._remember()
        end = asyncio.get_running_loop().time() + STOP_SECONDS
        sign = signal.SIGTERM
        while self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sign)
            await asyncio.sleep(0.05)
            if asyncio.get_running_loop().time() > end:
                sign = signal.SIGKILL
        self._child, self.pid, self._born = None, 0, ""


def forget_dead(path: Path) -> None:
    """Delete charon's own note of its process unless that is a charon and lives.

    After a power cut the note is still there, and its number may be another program's by now: charon would never start again.
    """
    with contextlib.suppress(OSError, ValueError):
        number = int(path.read_text().strip() or 0)
        if not _born(number) or _name(number) != "charon":
            path.unlink()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _born(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]

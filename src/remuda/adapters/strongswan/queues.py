"""Room for packets that wait for charon while it encrypts in user space.

With a kernel's usual 200 kB, a burst of a single connection already overflows charon's socket: thousands of packets a second are
sent twice. charon has no option for it, and the machine's default would concern every program; so its sockets are borrowed for a
moment. What cannot be done is left as it is: it costs speed, nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import socket
from pathlib import Path

from remuda.adapters.strongswan import kernel
from remuda.ports.tunnels import TunnelError

log = logging.getLogger("remuda.network.tunnels")

BYTES, PACKETS = 1 << 20, 2000
"""Of a socket (the kernel doubles it), and of the device in front of charon."""
DEVICE = "ipsec0"
_PIDFD_GETFD = 438
_RCVBUFFORCE = 33


async def widen(pid: int) -> None:
    """Widen the queues of a charon."""
    with contextlib.suppress(TunnelError):
        await kernel.run(["ip", "link", "set", "dev", DEVICE, "txqueuelen", str(PACKETS)])
    try:
        _widen_sockets(pid)
    except OSError as error:
        log.info("charon keeps the kernel's usual buffers: %s", error)


def _widen_sockets(pid: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(entry).startswith("socket:"):
                    _widen_socket(handle, int(entry.name))
    finally:
        os.close(handle)


def _widen_socket(handle: int, number: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    borrowed = library.syscall(_PIDFD_GETFD, handle, number, 0)
    if borrowed < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(fileno=borrowed) as found:
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_DGRAM:
            found.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, BYTES)

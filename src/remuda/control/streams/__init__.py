"""Live bytes from and to hosts: logs, exec, stats; relayed by the server that holds the host's session."""

from remuda.control.streams.endpoint import Stream, StreamFailed
from remuda.control.streams.relay import Streams

__all__ = ["Stream", "StreamFailed", "Streams"]

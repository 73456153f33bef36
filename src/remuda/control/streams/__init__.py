"""Live bytes from and to hosts: logs, shells, stats, ports. Tickets allow them; the server that holds the host's session relays
them."""

from remuda.control.streams.endpoint import Stream, StreamFailed
from remuda.control.streams.relay import Streams
from remuda.control.streams.tickets import Tickets

__all__ = ["Stream", "StreamFailed", "Streams", "Tickets"]

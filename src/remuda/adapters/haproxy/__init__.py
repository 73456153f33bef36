"""haproxy's runtime and master sockets."""

from remuda.adapters.haproxy.control import HaproxyControl

__all__ = ["HaproxyControl"]

"""Hints and live bytes between servers through Redis. See :mod:`.bus`."""

from remuda.adapters.redis.bus import RedisBus

__all__ = ["RedisBus"]

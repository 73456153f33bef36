"""Leases, bus and clock within one process: the single-node product, and the test doubles of the cluster."""

from remuda.adapters.memory.bus import MemoryBus, MemoryHub
from remuda.adapters.memory.clock import LoopClock, SystemClock
from remuda.adapters.memory.leases import MemoryCluster, MemoryLeases

__all__ = ["LoopClock", "MemoryBus", "MemoryCluster", "MemoryHub", "MemoryLeases", "SystemClock"]

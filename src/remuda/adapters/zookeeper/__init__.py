"""Leases and membership by ZooKeeper. See :mod:`.leases`."""

from remuda.adapters.zookeeper.bridge import Tls
from remuda.adapters.zookeeper.leases import ZookeeperLeases

__all__ = ["Tls", "ZookeeperLeases"]

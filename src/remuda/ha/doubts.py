"""Two machines under one identity, or two nodes at one address: both end in confusion unless somebody says so."""

from __future__ import annotations

from pathlib import Path

from remuda.core.membership import Watch
from remuda.ha.cluster import View


class Doubts:
    """What the node ``uuid`` suspects, look by look."""

    def __init__(self, uuid: str, file: Path) -> None:
        self._uuid, self._file = uuid, file
        self._beat = 0
        self._foreign = 0

    def about(self, view: View, watch: Watch, address: str) -> dict[str, str]:
        """Notices by key; an empty one takes back what was said."""
        me = view.me(self._uuid)
        foreign = self._beat and view.beat_before not in (self._beat, 0)
        self._foreign = self._foreign + 1 if foreign else 0
        self._beat = me.beat if me else 0
        clone = (
            f"another machine beats as this node ({self._uuid}): is its disk a copy? "
            f"On the copy, delete {self._file} and run remuda-ha.sh again"
        )
        same = [m for m in view.members if m.uuid != self._uuid and m.address == address and watch.alive(m.uuid)]
        twin = (
            f"{same[0].hostname} has the same address {address}; give each its own in REMUDA_ADVERTISE_ADDRESS"
            if same
            else ""
        )
        return {"clone": clone if self._foreign >= 2 else "", "address": twin}

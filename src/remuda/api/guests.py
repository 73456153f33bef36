"""Whoever is connected for longer than a request: subscribers, streams. They leave when their rights end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from remuda.api.context import Caller

if TYPE_CHECKING:
    from remuda.api.auth import Authenticator


class Guest:
    """One open socket and the rights it was opened with."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.ended = asyncio.Event()
        """Set when the caller may not do any more what the socket is for."""
        self.gone = False
        """Set before, when the very credential is not valid any more."""

    def refresh(self, caller: Caller) -> None:
        """The same caller, as known now (they may belong to other environments than before)."""
        self.caller = caller


async def see_out(auth: Authenticator, guests: Iterable[Guest]) -> None:
    """Look at all guests again, after something about accounts, credentials or members changed."""
    groups: dict[tuple[object, ...], list[Guest]] = defaultdict(list)
    for guest in guests:
        groups[guest.caller.key, guest.caller.project_id, guest.caller.role].append(guest)
    for group in groups.values():
        now = await auth.again(group[0].caller)
        for guest in group:
            if now is None or now.role != guest.caller.role:
                guest.gone = now is None
                guest.ended.set()
            else:
                guest.refresh(now)

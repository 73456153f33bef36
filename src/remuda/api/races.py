"""Jobs of which the first to end ends all: what a conversation with a client consists of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first(*jobs: Awaitable[Any]) -> set[asyncio.Task[Any]]:
    """Run them until one ends, however it ends; the others are cancelled and waited for. Those that had ended are returned."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

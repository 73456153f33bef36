"""What a node says of itself on its status page and in the database: stages, parts, and one sentence for everything.

Written by the supervisor, read by the page; nothing here waits for anything, so the page answers when nothing else does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Overall = Literal["starting", "waiting", "up", "failed"]
STAGES = {
    "configuration": "Read the configuration",
    "engine": "Reach Docker",
    "database": "Reach the database",
    "place": "Get a place in the cluster",
    "peers": "Meet the other nodes",
    "redis": "Start Redis",
    "zookeeper": "Start ZooKeeper and agree with the others",
    "server": "Start the server",
    "ingress": "Open the front door",
}


class Stage(msgspec.Struct):
    """One step of the way up."""

    id: str
    title: str
    state: Literal["todo", "doing", "done"] = "todo"
    message: str = ""
    began: float | None = None
    ended: float | None = None


class PartState(msgspec.Struct):
    """One part as it was found last."""

    state: str = "waiting"
    message: str = "not started yet"
    role: str = ""
    since: float = 0.0


class NodeState:
    """The node as a whole. ``clock`` is a growing number of seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self.started = clock()
        self.stages = {key: Stage(key, title) for key, title in STAGES.items()}
        self.parts: dict[str, PartState] = {}
        self.facts: dict[str, Any] = {}
        self.peers: list[dict[str, Any]] = []
        self.notices: dict[str, str] = {}
        self.spare = False

    # ------------------------------------------------------------ writing

    def stage(self, key: str, done: bool, message: str) -> None:
        """A stage is done, or still goes on for the reason in ``message``."""
        stage = self.stages[key]
        now = self._clock()
        if stage.began is None:
            stage.began = now
        stage.message = message
        if done and stage.state != "done":
            stage.state, stage.ended = "done", now
        elif not done:
            if stage.state == "done":
                stage.began, stage.ended = now, None
            stage.state = "doing"

    def part(self, name: str, state: str, message: str, role: str = "") -> bool:
        """Note how a part is; True when that is news."""
        old = self.parts.get(name)
        if old is not None and (old.state, old.message, old.role) == (state, message, role):
            return False
        since = old.since if old is not None and old.state == state else self._clock()
        self.parts[name] = PartState(state, message, role, since)
        if name in self.stages:
            self.stage(name, state in ("up", "off"), message)
        return old is None or old.state != state or old.role != role

    def notice(self, key: str, message: str) -> None:
        """Something worth knowing that is no stage; empty takes it back."""
        if message:
            self.notices[key] = message
        else:
            self.notices.pop(key, None)

    # ------------------------------------------------------------ reading

    @property
    def overall(self) -> tuple[Overall, str]:
        """One word and one sentence."""
        for stage in self.stages.values():
            if stage.state == "done":
                continue
            waiting = stage.id == "peers"
            word: Overall = "waiting" if waiting and stage.state == "doing" else "starting"
            return word, f"{stage.title}: {stage.message or 'not begun'}"
        if not self.spare and any(part.state == "off" for part in self.parts.values()):
            return "starting", "This node takes a place; its parts are about to start."
        if self.spare:
            return "up", "This node is a spare: it takes over when one of the others is lost."
        return "up", "All parts of this node are up."

    def reported(self) -> dict[str, Any]:
        """``parts`` of the node's row: what other nodes and the API show."""
        offset = self._wall() - self._clock()
        shown: dict[str, Any] = {}
        for name, part in self.parts.items():
            shown[name] = {"state": part.state, "message": part.message, "since": int((part.since + offset) * 1000)}
            if part.role:
                shown[name]["role"] = part.role
        return shown

    def document(self) -> dict[str, Any]:
        """Everything, for ``/status.json``."""
        now = self._clock()
        word, why = self.overall
        stages = [
            {
                "id": stage.id,
                "title": stage.title,
                "state": stage.state,
                "message": stage.message,
                "seconds": None if stage.began is None else round((stage.ended or now) - stage.began, 1),
            }
            for stage in self.stages.values()
        ]
        parts = {
            name: {"state": p.state, "message": p.message, "role": p.role, "seconds": round(now - p.since, 1)}
            for name, p in self.parts.items()
        }
        return {
            "state": word, "message": why, "uptime": round(now - self.started, 1), "spare": self.spare, **self.facts,
            "stages": stages, "parts": parts, "notices": list(self.notices.values()), "peers": self.peers,
        }  # fmt: skip

"""What the agent knows of its environment: the scene, which host it is, and the keys of the tunnels between hosts.

Fed by the conversation with the server, read by everything on this host that networks, names, checks or balances. It never asks
the server anything itself: when its scene is not what the server says it should be, it says so and is sent all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from remuda.core.ids import number
from remuda.core.network.digest import Digest
from remuda.core.network.scene import Scene
from remuda.core.wire import NetworkKeys, SceneUpdate

log = logging.getLogger("remuda.agent.surroundings")

Listener = Callable[[], None]


class Surroundings:
    """``host_id`` is 0 until a server said once which host this is."""

    def __init__(
        self, scene: Scene | None = None, host_id: int = 0, keys: Mapping[int, str] | None = None, use: int = 0
    ) -> None:
        self.scene = scene or Scene()
        self.host_id = host_id
        self.keys = dict(keys or {})
        self.use = use
        self._digest = Digest(self.scene)
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Call ``listener`` after each change."""
        self._listeners.append(listener)

    def welcome(self, host: str) -> None:
        """The server calls us by this public id (``1h5``). Another one than before: all that was known is another's."""
        told = number(host) or 0
        if told == self.host_id:
            return
        if self.host_id:
            self.forget()
        self.host_id = told
        self._tell()

    def forget(self) -> None:
        """This machine belongs to another environment now, or to none."""
        self.scene, self.keys, self.use = Scene(), {}, 0
        self._digest = Digest()
        self._tell()

    def take(self, update: SceneUpdate) -> bool:
        """Take an update in. False: the result is not what the server says it should be; ask for all of it."""
        if update.complete:
            self.scene = update.scene
            self._digest = Digest(update.scene)
        else:
            self.scene = self.scene.after(update.scene, update.gone)
            self._digest.take(update.scene, update.gone)
        self._tell()
        if update.digest and self._digest.value != update.digest:
            log.warning("The picture of the environment is not the server's; all of it is asked for")
            return False
        return True

    def take_keys(self, message: NetworkKeys) -> None:
        """The keys that count from now on."""
        if (self.keys, self.use) != (message.keys, message.use):
            self.keys, self.use = dict(message.keys), message.use
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                log.exception("A listener of the environment failed; the others are told all the same")

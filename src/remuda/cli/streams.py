"""Live bytes from containers: logs that survive a reconnect without repeating a line, shells, and the event stream."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from remuda.cli.client import Api, Json
from remuda.cli.errors import FAILED, UNREACHABLE, CliError, RefusalError

if TYPE_CHECKING:
    from remuda.cli.live import LiveSocket

OPEN_SECONDS = 10.0
GIVE_UP_SECONDS = 60.0


def dial(api: Api, url: str, *, signed_in: bool = False) -> LiveSocket:
    """A WebSocket to the server that we know to work."""
    from websockets.exceptions import InvalidHandshake, InvalidURI

    from remuda.cli.live import open_socket

    headers = api.headers() if signed_in else {"User-Agent": "remuda-cli"}
    headers.pop("Accept", None)
    agent = headers.pop("User-Agent")
    try:
        return open_socket(
            api.socket_url(url), tls=api.tls, open_seconds=OPEN_SECONDS, headers=headers, user_agent=agent
        )
    except (InvalidHandshake, InvalidURI) as error:
        raise CliError(f"the server refused the stream: {error}", FAILED) from None
    except (OSError, TimeoutError) as error:
        raise CliError(f"cannot reach {api.server}: {error}", UNREACHABLE) from None


def access_url(access: Json, **more: str) -> str:
    """The address that an action handed out, with its token."""
    query = "&".join([f"token={access['token']}", *(f"{key}={value}" for key, value in more.items())])
    url = str(access["url"])
    return f"{url}{'&' if '?' in url else '?'}{query}"


class LogReader:
    """The output of one container. Lines carry Docker's own times, by which a reconnect knows what was read already."""

    def __init__(self, api: Api, container: Json, *, follow: bool, tail: int, stop: threading.Event) -> None:
        self.api, self.container, self.follow, self.tail, self.stop = api, container, follow, tail, stop
        self.last = ""

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """(time, ``out`` or ``err``, text) until the end, or for ever with ``follow``."""
        failing_since: float | None = None
        while not self.stop.is_set():
            try:
                for found in self._once():
                    failing_since = None
                    yield found
                if not self.follow or self._gone():
                    return
            except (RefusalError, CliError) as error:
                if not self.follow or getattr(error, "status", 0) in (404, 422):
                    raise
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > GIVE_UP_SECONDS:
                    raise
            if self.stop.wait(1.0):
                return

    def _gone(self) -> bool:
        now = self.api.get("container", self.container["id"])
        return now is None or now.get("state") in ("removed", "purged", "removing")

    def _once(self) -> Iterator[tuple[str, str, str]]:
        from websockets.exceptions import ConnectionClosed, ConnectionClosedError

        wish: Json = {"follow": self.follow, "lines": self.tail, "timestamps": True}
        if self.last:
            wish |= {"lines": 10_000, "since": str(epoch(self.last))}
        access = self.api.action(self.container, "logs", wish)
        socket = dial(self.api, access_url(access))
        resumed = self.last
        try:
            while not self.stop.is_set():
                try:
                    frame = socket.recv(timeout=1.0)
                except TimeoutError:
                    continue
                except ConnectionClosed as closed:
                    if (
                        isinstance(closed, ConnectionClosedError)
                        and closed.rcvd is not None
                        and closed.rcvd.code == 1011
                    ):
                        raise CliError(
                            f"{self.container.get('name')}: {closed.rcvd.reason or 'the log ended'}"
                        ) from None
                    return
                text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
                found = parse_log_frame(text)
                if resumed and found[0] and found[0] <= resumed:
                    continue
                self.last = found[0] or self.last
                yield found
        finally:
            with suppress(Exception):
                socket.close()


def parse_log_frame(frame: str) -> tuple[str, str, str]:
    """``01 2026-11-22T10:00:00.123Z text`` as (time, stream, text)."""
    mark, _, rest = frame.partition(" ")
    if mark not in ("00", "01", "02"):
        mark, rest = "01", frame
    stamp, _, text = rest.partition(" ")
    if len(stamp) >= 20 and stamp[4:5] == "-" and "T" in stamp:
        return stamp, "err" if mark == "02" else "out", text
    return "", "err" if mark == "02" else "out", rest


def epoch(stamp: str) -> int:
    """Whole seconds of a Docker time."""
    import calendar

    return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))


def execute(api: Api, container: Json, command: list[str], *, tty: bool, stdin: bool) -> int:
    """Run a command in a container with our terminal; its exit code."""
    wish = {"command": command, "tty": tty, "attachStdin": stdin, "attachStdout": True}
    access = api.action(container, "execute", wish, repeat=False)
    socket = dial(api, access_url(access, exit="true"))
    restore = _raw_terminal() if tty and stdin and sys.stdin.isatty() else None
    try:
        pump = _Keyboard(socket, tty=tty, stdin=stdin)
        pump.start()
        try:
            return _receive(socket)
        finally:
            pump.end()
    finally:
        if restore is not None:
            restore()
        with suppress(Exception):
            socket.close()


def _receive(socket: LiveSocket) -> int:
    from websockets.exceptions import ConnectionClosed

    code: int | None = None
    while True:
        try:
            frame = socket.recv()
        except ConnectionClosed as closed:
            if code is not None:
                return code
            reason = closed.rcvd.reason if closed.rcvd is not None else ""
            raise CliError(f"the session ended: {reason or 'the connection was lost'}", FAILED) from None
        text = frame if isinstance(frame, str) else frame.decode("ascii", "replace")
        if text.startswith(":exit:"):
            number = text.removeprefix(":exit:")
            if not number.removeprefix("-").isdecimal():
                raise CliError("the command ended, but its exit code is not known", FAILED)
            code = int(number) & 0xFF
            continue
        sys.stdout.buffer.write(base64.b64decode(text))
        sys.stdout.buffer.flush()


class _Keyboard(threading.Thread):
    """Sends what is typed, and the terminal's size when it changes. A pipe wakes it up, since handlers must not send."""

    def __init__(self, socket: LiveSocket, *, tty: bool, stdin: bool) -> None:
        super().__init__(daemon=True, name="keyboard")
        self.socket, self.tty, self.stdin = socket, tty, stdin
        self.waker, self.alarm = os.pipe()
        self.before: Any = None

    def start(self) -> None:
        if self.tty:
            self.before = signal.signal(signal.SIGWINCH, lambda *_: os.write(self.alarm, b"w"))
            os.write(self.alarm, b"w")
        super().start()

    def end(self) -> None:
        with suppress(OSError):
            os.write(self.alarm, b"q")
        self.join(1.0)
        if self.before is not None:
            signal.signal(signal.SIGWINCH, self.before)

    def run(self) -> None:
        import select

        watched = [self.waker, *([sys.stdin.fileno()] if self.stdin else [])]
        try:
            while True:
                ready, _, _ = select.select(watched, [], [])
                if self.waker in ready:
                    if b"q" in os.read(self.waker, 64):
                        return
                    self._resize()
                    continue
                data = os.read(sys.stdin.fileno(), 32768)
                if not data:
                    watched = [self.waker]
                    # a terminal's own end-of-file; without one the command is told by a frame of no bytes
                    self.socket.send(base64.b64encode(b"\x04").decode() if self.tty else "")
                    continue
                self.socket.send(base64.b64encode(data).decode())
        except Exception:
            return

    def _resize(self) -> None:
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except (OSError, ValueError):
            return
        self.socket.send(f":resizeTTY:{size.columns},{size.lines}")


def _raw_terminal() -> Callable[[], None]:
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    # not the default, which throws away what was typed ahead
    tty.setraw(handle, termios.TCSADRAIN)
    return lambda: termios.tcsetattr(handle, termios.TCSADRAIN, before)


def subscribe(api: Api) -> Iterator[Json]:
    """``resource.change`` events for ever; resumes after a lost connection, from another server if need be."""
    from websockets.exceptions import ConnectionClosed

    seq: Any = None
    failing_since: float | None = None
    while True:
        path = f"{api.base}/subscribe?eventNames=resource.change" + (f"&resume={seq}" if seq is not None else "")
        try:
            socket = dial(api, path, signed_in=True)
        except CliError:
            failing_since = failing_since or time.monotonic()
            if not api.reached or time.monotonic() - failing_since > GIVE_UP_SECONDS:
                raise
            time.sleep(1.0)
            continue
        failing_since = None
        with socket:
            while True:
                try:
                    # pings come every 5 s; silence for longer means that nobody is there
                    event = json.loads(socket.recv(timeout=20.0))
                except (ConnectionClosed, TimeoutError):
                    break
                except ValueError:
                    continue
                if event.get("seq") is not None:
                    seq = event["seq"]
                if event.get("name") == "resync":
                    seq = None
                if event.get("name") == "resource.change":
                    yield event
        time.sleep(0.5)

"""Commands that go into containers: logs, exec."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from typing import Annotated

from cyclopts import Parameter

from remuda.cli.client import Json
from remuda.cli.errors import FAILED, USAGE, CliError
from remuda.cli.names import Inventory
from remuda.cli.output import PREFIX_COLOURS, Output, paint
from remuda.cli.session import Session, current
from remuda.cli.streams import LogReader, execute

READABLE = ("running", "stopped", "starting", "stopping", "restarting", "error")


def logs(
    *names: str,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    tail: Annotated[int, Parameter(name=["--tail", "--lines", "-n"], allow_leading_hyphen=True)] = 100,
    timestamps: Annotated[bool, Parameter(name=["--timestamps", "-t"], negative="")] = False,
) -> None:
    """Show the output of containers, merged by time.

    Parameters
    ----------
    names
        Stacks, services or containers.
    follow
        Go on showing new lines, also of containers that come later, until interrupted.
    tail
        Lines of each container to start with; -1 for all.
    timestamps
        Show when each line was written.
    """
    session = current()
    if not names:
        raise CliError("say whose output: a stack, service or container", USAGE)
    printer = _Printer(session.output, timestamps)
    reading = _Reading(session, list(names), printer, follow, tail)
    reading.run()


class _Printer:
    """Prints whole lines with the container's name in front, each container in its colour."""

    def __init__(self, output: Output, timestamps: bool) -> None:
        self.output, self.timestamps = output, timestamps
        self.lock = threading.Lock()
        self.colours: dict[str, str] = {}
        self.width = 0
        self.prefixed = True

    def know(self, names: list[str]) -> None:
        for name in names:
            self.colours.setdefault(name, PREFIX_COLOURS[len(self.colours) % len(PREFIX_COLOURS)])
            self.width = max(self.width, len(name))

    def line(self, name: str, stamp: str, stream: str, text: str) -> None:
        with self.lock:
            prefix = (
                paint(f"{name:<{self.width}} |", self.colours[name], self.output.tty) + " " if self.prefixed else ""
            )
            shown = f"{stamp} {text}" if self.timestamps and stamp else text
            target = self.output.err if stream == "err" and not self.prefixed else self.output.out
            print(f"{prefix}{shown}", file=target, flush=True)


class _Reading:
    """Reads several containers at once."""

    def __init__(self, session: Session, names: list[str], printer: _Printer, follow: bool, tail: int) -> None:
        self.session, self.wanted, self.printer, self.follow, self.tail = session, names, printer, follow, tail
        self.stop = threading.Event()
        self.threads: dict[str, threading.Thread] = {}
        self.failures: queue.Queue[CliError] = queue.Queue()
        self.collected: list[tuple[str, int, str, str, str]] = []

    def run(self) -> None:
        containers = self.containers(self.session.names)
        if not containers and not self.follow:
            raise CliError("there is no container to read yet; see `remuda ps`", FAILED)
        self.printer.prefixed = len(containers) != 1 or (self.follow and not self.single())
        try:
            self.begin(containers)
            while self.follow:
                for thread in list(self.threads.values()):
                    thread.join(0.5)
                if not self.failures.empty() and not any(t.is_alive() for t in self.threads.values()):
                    break
                if self.single() and not any(t.is_alive() for t in self.threads.values()):
                    break
                if not self.stop.wait(1.5):
                    self.session.names.forget()
                    with contextlib.suppress(CliError):
                        self.begin(self.containers(self.session.names))
            for thread in self.threads.values():
                while thread.is_alive():
                    thread.join(0.5)
        finally:
            self.stop.set()
        for _stamp, _order, name, stream, text in sorted(self.collected):
            self.printer.line(name, _stamp, stream, text)
        if not self.failures.empty():
            raise self.failures.get()

    def single(self) -> bool:
        """Is it one container, asked for as such?"""
        return len(self.wanted) == 1 and self.session.names.find(self.wanted[0])["type"] == "container"

    def containers(self, inventory: Inventory) -> list[Json]:
        found: dict[str, Json] = {}
        for name in self.wanted:
            for container in inventory.containers_of(inventory.find(name, ("environment", "service", "container"))):
                if container.get("state") in READABLE and container.get("externalId"):
                    found[container["id"]] = container
        return list(found.values())

    def begin(self, containers: list[Json]) -> None:
        new = [c for c in containers if c["id"] not in self.threads]
        self.printer.know([str(c.get("name") or c["id"]) for c in new])
        for container in new:
            thread = threading.Thread(target=self.read, args=(container, len(self.threads)), daemon=True)
            self.threads[container["id"]] = thread
            thread.start()

    def read(self, container: Json, order: int) -> None:
        name = str(container.get("name") or container["id"])
        reader = LogReader(self.session.api, container, follow=self.follow, tail=self.tail, stop=self.stop)
        count = 0
        try:
            for stamp, stream, text in reader.lines():
                if self.follow:
                    self.printer.line(name, stamp, stream, text)
                else:
                    count += 1
                    self.collected.append((stamp, order * 10_000_000 + count, name, stream, text))
        except CliError as error:
            self.failures.put(error)


def exec_(
    container: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    interactive: Annotated[bool, Parameter(name=["--interactive", "-i"], negative="")] = False,
    tty: Annotated[bool, Parameter(name=["--tty", "-t"], negative="")] = False,
) -> int:
    """Run a command in a container; ends with the command's own exit code.

    Parameters
    ----------
    container
        A container, or a service: its first running container.
    command
        The command and its arguments. Default: a shell, with -it.
    interactive
        Send what is typed.
    tty
        Give it a terminal.
    """
    session = current()
    if not command:
        command = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh")
        interactive = tty = True
    if tty and interactive and not sys.stdin.isatty():
        raise CliError("-t needs a terminal: leave it out when input comes from a pipe", USAGE)
    inventory = session.names
    found = inventory.find(container, ("container", "service"))
    running = [c for c in inventory.containers_of(found) if c.get("state") == "running"]
    if not running:
        raise CliError(f"{container} has no running container to run this in; see `remuda ps {container}`", FAILED)
    return execute(session.api, running[0], list(command), tty=tty, stdin=interactive)

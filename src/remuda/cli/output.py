"""What people and programs see: tables on a terminal, aligned text in a pipe, JSON where asked for, ids with --quiet."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

Row = Sequence[object]

GOOD = {"active", "running", "healthy", "connected", "up", "ok", "ready", "leader", "follower", "same"}
BAD = {"error", "disconnected", "unhealthy", "lost", "down", "failed", "degraded"}
PREFIX_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")


class Output:
    """Where a command writes. ``form`` is ``table`` or ``json``."""

    def __init__(
        self, form: str = "table", quiet: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.form, self.quiet = form, quiet
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    @property
    def tty(self) -> bool:
        """Is a person looking at the output?"""
        return self.out.isatty()

    def say(self, text: str) -> None:
        """A remark beside the result; silent with --quiet."""
        if not self.quiet:
            print(clean(text), file=self.err, flush=True)

    def line(self, text: str = "") -> None:
        """A line of the result."""
        print(text, file=self.out, flush=True)

    def document(self, value: Any) -> None:
        """A value as JSON."""
        self.line(json.dumps(value, indent=2, ensure_ascii=False))

    def table(self, headers: Sequence[str], rows: Iterable[Row], resources: Sequence[dict[str, Any]] = ()) -> None:
        """A list. ``resources`` are what the rows stand for: printed whole as JSON, by id with --quiet."""
        if self.form == "json":
            self.document(list(resources))
        elif self.quiet:
            for resource in resources:
                self.line(str(resource.get("id", "")))
        elif self.tty:
            self._rich(headers, rows)
        else:
            for text in aligned(headers, rows):
                self.line(text)

    def _rich(self, headers: Sequence[str], rows: Iterable[Row]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            cells = [clean(cell) for cell in row]
            table.add_row(*(Text(cell, style=style_of(cell)) for cell in cells))
        Console(file=self.out).print(table)


def style_of(cell: str) -> str:
    """Colour for words that mean something everywhere."""
    word = cell.split(" ", 1)[0].lower()
    if word in GOOD:
        return "green"
    if word in BAD:
        return "red"
    return "yellow" if word.endswith("ing") or word in ("inactive", "stopped", "reconnecting") else ""


def aligned(headers: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Columns of text, two spaces apart, nothing at line ends."""
    cells = [[str(h) for h in headers], *([clean(c) for c in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(headers))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def clean(value: object) -> str:
    """Text that cannot play with the terminal; lists and None as people write them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(clean(item) for item in value)
    return _CONTROL.sub("", str(value))


def state_of(resource: dict[str, Any]) -> str:
    """The state people should see."""
    state = str(resource.get("state") or "")
    health = resource.get("healthState")
    if state in ("active", "running") and health not in (None, "", "healthy", "started-once"):
        return f"{state} ({health})"
    return state


def reason_of(resource: dict[str, Any]) -> str:
    """The sentence that says why it is as it is, if there is anything to say."""
    if resource.get("blocked") and resource.get("because"):
        return str(resource["because"])
    if resource.get("transitioning") in ("yes", "error"):
        return str(resource.get("transitioningMessage") or resource.get("because") or "")
    if resource.get("healthState") not in (None, "", "healthy", "started-once"):
        return str(resource.get("healthBecause") or "")
    return ""


def endpoints_of(resource: dict[str, Any]) -> str:
    """Where it can be reached."""
    found = resource.get("publicEndpoints") or []
    texts = []
    for endpoint in found:
        if isinstance(endpoint, dict) and endpoint.get("port"):
            protocol = endpoint.get("protocol") or "tcp"
            address = str(endpoint.get("ipAddress") or "")
            address = f"[{address}]" if ":" in address else address
            texts.append(f"{address}:{endpoint['port']}" + ("" if protocol == "tcp" else f"/{protocol}"))
    texts = list(dict.fromkeys(texts))
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")


def paint(text: str, colour: str, on: bool) -> str:
    """Text in an ANSI colour, if wanted."""
    return f"\x1b[{colour}m{text}\x1b[0m" if on else text

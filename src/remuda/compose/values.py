"""Readers of single values: each takes a node and gives a plain value, or reports why not and gives None."""

from __future__ import annotations

import contextlib
import re
import shlex

from remuda.compose.documents import as_map
from remuda.compose.nodes import Node, Report
from remuda.compose.yamlread import canonical

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$|(-?\d+)b$", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|h|m|s)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_IMAGE = re.compile(
    r"(?:(?=[^/]*[.:]|localhost/)[a-zA-Z0-9.-]+(?::\d+)?/|\[[0-9a-fA-F:]+\](?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,})?$"
)


class Values:
    """Readers bound to a report."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def text(self, node: Node, what: str) -> str | None:
        """Text; numbers and switches are taken as they print."""
        if node.is_scalar:
            return canonical(node.value)
        self.report.error(node, f"{what} must be text, not {node.kind}")
        return None

    def number(self, node: Node, what: str, low: int | None = None, high: int | None = None) -> int | None:
        """A whole number, also when it came out of a variable as text."""
        value = node.value
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = int(value.strip()) if len(value) < 30 else value
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            shown = (
                f"{value!r}" if node.is_scalar and value not in (None, "") else "nothing" if not value else node.kind
            )
            self.report.error(node, f"{what} must be a whole number, not {shown}")
            return None
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"between {low} and {high}" if low is not None and high is not None else f"{low} or more"
            self.report.error(node, f"{what} must be {limits}, not {value}")
            return None
        return value

    def switch(self, node: Node, what: str) -> bool | None:
        """True or false, also as text."""
        value = node.value
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in (
            "true",
            "false",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "",
        ):
            return value.strip().lower() in ("true", "yes", "on", "y")
        if value is None:
            return False
        self.report.error(
            node, f"{what} must be true or false, not {value!r}" if node.is_scalar else f"{what} must be true or false"
        )
        return None

    def size(self, node: Node, what: str, *, unlimited: bool = False) -> int | None:
        """A number of bytes: ``512m``, ``1.5g``, ``64 MiB``, ``1048576``."""
        text = self.text(node, what)
        if text is None or not text.strip():
            return None
        match = _SIZE.match(text.strip())
        if match is None or len(text) > 30:
            self.report.error(node, f"{what} must be a size such as 512m or 1g, not {text!r}")
            return None
        number = int(float(match.group(1) or match.group(3)) * _UNITS[(match.group(2) or "").lower()])
        if number < 0 and not (unlimited and number == -1):
            self.report.error(node, f"{what} cannot be negative")
            return None
        return number

    def seconds(self, node: Node, what: str) -> float | None:
        """A duration such as ``1m30s``, or a bare number of seconds."""
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
            return float(value)
        text = str(value or "").replace(" ", "").lower() if node.is_scalar else ""
        if text.isdecimal() and len(text) < 10:
            return float(text)
        parts = _DURATION.findall(text)
        if not parts or len(text) > 40 or "".join(n + u for n, u in parts) != text:
            self.report.error(node, f"{what} must be a duration such as 30s or 1m30s")
            return None
        return sum(float(n) * _SECONDS[u] for n, u in parts)

    def texts(self, node: Node, what: str) -> list[str]:
        """A list of text; one text is a list of one."""
        if node.value is None:
            return []
        if node.is_scalar:
            text = self.text(node, what)
            return [text] if text else []
        if node.is_map:
            self.report.error(node, f"{what} must be a list, not a mapping")
            return []
        found = [self.text(child, f"each entry of {what}") for child in node.elements()]
        return list(dict.fromkeys(text for text in found if text))

    def words(self, node: Node, what: str) -> list[str] | None:
        """A command line: a list as it is, text split as a shell would."""
        if node.value is None:
            return None
        if node.is_list:
            found = [self.text(child, f"each word of {what}") for child in node.elements()]
            return [text for text in found if text is not None]
        text = self.text(node, what)
        try:
            return None if text is None else shlex.split(text)
        except ValueError as error:
            self.report.error(node, f"{what} cannot be split into words: {str(error).lower()}")
            return None

    def pairs(self, node: Node, what: str) -> dict[str, str | None]:
        """A mapping, or a list of ``KEY=value``; None where only the key is written."""
        if node.value is None or node.value == "":
            return {}
        if node.is_scalar:
            self.report.error(node, f"{what} must be a mapping or a list of KEY=value, not {node.kind}")
            return {}
        found: dict[str, str | None] = {}
        for child in node.elements():
            if not child.is_scalar and not child.is_map:
                self.report.error(child, f"each entry of {what} must be KEY=value, not {child.kind}")
        for key, child in as_map(node).items():
            if not key.strip():
                if child.value is not None:
                    self.report.error(child, f"{what} has an entry without a name")
                continue
            if not child.is_scalar:
                self.report.error(child, f"{what}: the value of {key} must be text, not {child.kind}")
                continue
            found[key] = None if child.value is None else canonical(child.value)
        return found

    def strings(self, node: Node, what: str) -> dict[str, str]:
        """As :meth:`pairs`, with nothing as empty text."""
        return {key: value or "" for key, value in self.pairs(node, what).items()}

    def image(self, node: Node) -> str | None:
        """An image reference."""
        text = self.text(node, "image")
        if text is None:
            return None
        text = text.strip()
        if not text:
            self.report.error(node, "image is empty; name an image such as nginx:1.27")
            return None
        if not _IMAGE.match(text.removeprefix("docker:")) or len(text) > 512:
            why = "; the part before the tag must be lower case" if text.lower() != text else ""
            self.report.error(node, f"{text!r} is not an image name{why}")
            return None
        return text.removeprefix("docker:")

"""The status page of a node on port 18080: this node's way up, its parts, and its peers as last known.

It needs nothing but the supervisor's own memory: it answers before the database does, without quorum, and when all parts are
down. It is read-only, shows no secret, and is its own small HTTP server so that nothing else has to work for it.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
from typing import Any

from remuda.ha.state import NodeState

log = logging.getLogger(__name__)
PORT = 18080
_MARK = {"done": "✓", "doing": "…", "todo": "·"}

_STYLE = """
:root{color-scheme:light dark;--ok:#1a7f37;--wait:#9a6700;--bad:#cf222e;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:1.8rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
.up,.done{color:var(--ok)}.waiting,.starting,.doing{color:var(--wait)}.down,.failed{color:var(--bad)}
.banner{padding:.8rem 1rem;border:1px solid var(--line);border-left:.4rem solid;border-radius:.4rem}
small{opacity:.75}
"""


class StatusPage:
    """Serves the state until closed."""

    def __init__(self, state: NodeState, port: int = PORT, host: str | None = None) -> None:
        self._state, self._port, self._host = state, port, host
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                line = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
                writer.write(self._answer(line[0] if line else "", line[1] if len(line) > 1 else ""))
                await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            pass
        except Exception:
            log.exception("the status page could not be shown")
        finally:
            writer.close()

    def _answer(self, method: str, target: str) -> bytes:
        path = target.partition("?")[0]
        status, kind, body = "200 OK", "text/plain; charset=utf-8", ""
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", "This page is read-only.\n"
        elif path == "/ping":
            body = "pong"
        elif path == "/status.txt":
            body = as_text(self._state.document())
        elif path == "/status.json":
            kind, body = "application/json", json.dumps(self._state.document(), ensure_ascii=False)
        elif path == "/":
            kind, body = "text/html; charset=utf-8", as_html(self._state.document())
        else:
            status, body = "404 Not Found", "There are /, /status.json, /status.txt and /ping.\n"
        raw = body.encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\nCache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else raw)


def as_text(document: dict[str, Any]) -> str:
    """First line: one word for scripts. Then what a person wants to know."""
    lines = [document["state"], document["message"]]
    lines += [f"note: {notice}" for notice in document["notices"]]
    return "\n".join(lines) + "\n"


def as_html(document: dict[str, Any]) -> str:
    """The page."""
    esc = html.escape
    word = document["state"]
    rows = "".join(
        f"<tr><td class={s['state']}>{_MARK[s['state']]}</td><td>{esc(s['title'])}</td><td>{esc(s['message'])}</td>"
        f"<td>{_seconds(s['seconds'])}</td></tr>"
        for s in document["stages"]
    )
    parts = "".join(
        f"<tr><td>{esc(name)}</td><td class={esc(p['state'])}>{esc(p['state'])}</td><td>{esc(p['message'])}</td>"
        f"<td>{_seconds(p['seconds'])}</td></tr>"
        for name, p in document["parts"].items()
    )
    peers = "".join(_peer_row(peer) for peer in document["peers"])
    notices = "".join(f"<p class=waiting>{esc(notice)}</p>" for notice in document["notices"])
    facts = [
        ("Cluster", f"{document.get('size', '?')} nodes, at {document.get('url', '?')}"),
        ("This node", f"{document.get('address') or 'address not known yet'}, {document.get('uuid', '')}"),
        ("Generation", f"{document.get('generation', '?')}, fingerprint {str(document.get('fingerprint', ''))[:12]}"),
        ("Version", str(document.get("version", ""))),
    ]
    shown = "".join(f"<tr><th>{esc(a)}</th><td>{esc(b)}</td></tr>" for a, b in facts)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>"
        f"<meta name=viewport content='width=device-width'><title>Remuda node: {esc(word)}</title><style>{_STYLE}</style>"
        f"<h1>Remuda management node</h1><p class='banner {esc(word)}'><strong>{esc(word)}</strong>: "
        f"{esc(document['message'])}</p>{notices}"
        f"<h2>The way up</h2><table>{rows}</table>"
        f"<h2>Parts</h2><table>{parts or '<tr><td>none started yet</td></tr>'}</table>"
        f"<h2>Nodes, as last known</h2><table>{peers or '<tr><td>none known yet</td></tr>'}</table>"
        f"<h2>Facts</h2><table>{shown}</table>"
        "<p><small>Also: <a href=/status.json>status.json</a>, <a href=/status.txt>status.txt</a></small></p></html>"
    )


def _peer_row(peer: dict[str, Any]) -> str:
    place = f"place {peer['slot']}" if peer.get("slot") else "spare"
    state = "up" if peer.get("alive") else "down"
    words = "heard of now" if peer.get("alive") else f"silent for {peer.get('silent', 0):.0f} s"
    trouble = "; ".join(peer.get("trouble", []))
    text = html.escape(f"{words}. {trouble}" if trouble else words)
    name = html.escape(f"{peer.get('hostname', '')} {peer.get('address', '')}")
    return f"<tr><td>{name}</td><td>{place}</td><td class={state}>{text}</td></tr>"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"

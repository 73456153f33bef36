"""The API for eyes: the same document as a page whose links can be followed and whose actions can be asked by a button.

Without scripts and without anything from elsewhere. It shows what the caller would have got as JSON, no more.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 1100px; margin: 24px auto; padding: 0 20px; }
nav a + a::before { content: " / "; color: gray; }
form { display: inline-block; margin: 0 6px 6px 0; }
button { font: inherit; padding: 3px 12px; border-radius: 6px; border: 1px solid gray; cursor: pointer; }
pre { overflow-x: auto; padding: 14px; border: 1px solid #8886; border-radius: 8px; }
code { overflow-wrap: anywhere; }
"""
_URL = re.compile(r"&quot;((?:https?|wss?)://.+?)&quot;")


def wanted(request: Request) -> bool:
    """Is this a person with a browser, who did not ask for JSON? Programs that run in one name what they accept."""
    asked = request.query_params.get("_format", "")
    if asked in ("json", "html"):
        return asked == "html"
    return "text/html" in request.headers.get("accept", "")


def page(request: Request, response: Response, csrf: str) -> Response:
    """The page for a JSON answer; any other answer as it is."""
    if not str(response.headers.get("content-type", "")).startswith("application/json") or not response.body:
        return response
    document = msgspec.json.decode(bytes(response.body))
    made = HTMLResponse(_html(request, document, csrf), response.status_code)
    for name, value in response.headers.items():
        if name.lower() not in ("content-type", "content-length"):
            made.headers[name] = value
    made.headers.update(HEADERS)
    return made


def _html(request: Request, document: Any, csrf: str) -> str:
    path = str(request.scope["path"])
    words = [document.get("type"), document.get("name") or document.get("id")] if isinstance(document, dict) else [path]
    title = escape(" ".join(str(word) for word in words if word))
    style = f"<style>{_STYLE}</style>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} · Remuda API</title>{style}</head>'
        f"<body><nav>{_trail(path)}</nav><h1>{title}</h1>{_buttons(document, csrf)}<pre><code>{_linked(document)}</code></pre>"
        f"<p>With a program: <code>curl -u ACCESS:SECRET {escape(str(request.url))}</code></p></body></html>"
    )


def _trail(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    steps = ("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))
    return "".join(f'<a href="{escape(step)}">{escape(part)}</a>' for step, part in zip(steps, parts, strict=True))


def _buttons(document: Any, csrf: str) -> str:
    if not isinstance(document, dict) or not isinstance(document.get("actions"), dict):
        return ""
    found = [_button(name, str(url), csrf) for name, url in document["actions"].items() if name != "update"]
    return f"<p>{''.join(found)}</p>" if found else ""


def _button(name: str, url: str, csrf: str) -> str:
    parts = urlsplit(url)
    target = escape(f"{parts.path}?{parts.query}&CSRF={csrf}")
    return f'<form method="post" action="{target}"><button>{escape(name)}</button></form>'


def _linked(document: Any) -> str:
    text = escape(json.dumps(document, indent=2, ensure_ascii=False))
    return _URL.sub(lambda match: f'&quot;<a href="{match[1]}">{match[1]}</a>&quot;', text)

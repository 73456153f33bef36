"""The API in a browser: pages to look at and to click, and nothing that a name could smuggle in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx2

from .conftest import PASSWORD, Installation

EYES = {"Accept": "text/html,*/*;q=0.8", "User-Agent": "Mozilla/5.0"}


@contextlib.asynccontextmanager
async def signed_in(server: Installation) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=server.base, headers=EYES, timeout=10) as http:
        answer = await http.post("/v1/token", json={"code": f"admin:{PASSWORD}"})
        assert answer.is_success, answer.text
        yield http


async def test_a_browser_gets_a_page_and_programs_get_json(server: Installation) -> None:
    async with signed_in(server) as http:
        page = await http.get("/v1/projects/1a5/environments")
        assert page.headers["content-type"].startswith("text/html")
        assert "script" not in page.headers["content-security-policy"]
        assert f'<a href="{server.base}/v1/projects/1a5/environments"' in page.text
        assert (await http.get("/v1/projects?_format=json")).json()["type"] == "collection"
        told = await http.get("/v1/projects", headers={"Accept": "application/json"})
        assert told.json()["type"] == "collection"
        missing = await http.get("/v1/projects/1a5/services/1s99")
        assert (missing.status_code, "no such" in missing.text.lower() or "1s99" in missing.text) == (404, True)


async def test_an_action_is_asked_by_a_button_and_only_with_the_visitors_own_token(server: Installation) -> None:
    async with server.admin() as api:
        made = (await api.post("/environments", json={"name": "shop"})).json()
        config = {"imageUuid": "docker:nginx"}
        service = (
            await api.post(
                "/services", json={"name": "web", "environmentId": made["id"], "launchConfig": config, "scale": 0}
            )
        ).json()
    async with signed_in(server) as http:
        page = await http.get(f"/v1/projects/1a5/services/{service['id']}")
        buttons = {name: unescape(url) for url, name in re.findall(r'action="([^"]+)"><button>(\w+)<', page.text)}
        assert "activate" in buttons
        strange = await http.post(re.sub(r"CSRF=\w+", "CSRF=0", buttons["activate"]))
        assert strange.status_code == 403
        done = await http.post(buttons["activate"])
        assert done.status_code == 202, done.text
        assert "<h1>service web</h1>" in done.text


async def test_no_name_becomes_markup(server: Installation) -> None:
    async with server.admin() as api:
        body = {"name": "shop", "description": '"><script>alert(1)</script> http://x/"onclick='}
        made = (await api.post("/environments", json=body)).json()
    async with signed_in(server) as http:
        page = await http.get(f"/v1/projects/1a5/environments/{made['id']}")
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text
        assert '"onclick=' not in page.text

"""What other people's web pages, headers and proxies can do to us: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
import types
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from remuda.adapters.crypto.keyring import FileKeyring
from remuda.agent.register import exports
from remuda.api.audit import masked
from remuda.api.throttle import FREE, LONGEST, Throttle
from remuda.ports.keyring import Busy

from .conftest import PASSWORD, Installation
from .people import bearer, person

BROWSER = {"User-Agent": "Mozilla/5.0"}


async def browser(server: Installation) -> tuple[httpx2.AsyncClient, dict[str, str]]:
    """A logged-in browser, and the header that its own pages send."""
    http = server.client(headers=BROWSER)
    assert (await http.post("/token", json={"code": f"admin:{PASSWORD}"})).status_code == 201
    return http, {"X-API-CSRF": http.cookies["CSRF"]}


async def test_nothing_is_changed_by_a_link(server: Installation) -> None:
    http, csrf = await browser(server)
    async with contextlib.aclosing(http):
        made = (await http.post("/projects", json={"name": "two"}, headers=csrf)).json()
        url = f"/projects/{made['id']}"
        for path in (
            f"{url}?_method=DELETE",
            f"{url}?_method=PUT",
            f"{url}?action=deactivate",
            "/projects?_method=POST",
        ):
            assert (await http.get(path, headers=csrf)).json().get("type") in ("project", "collection")
            assert (await http.head(path, headers=csrf)).status_code == 200
        assert (await http.post(f"{url}?_method=DELETE")).json()["code"] == "InvalidCSRFToken"
        assert (await http.post(f"{url}?_method=delete", headers=csrf)).status_code == 200
        assert (await http.get(url)).json()["state"] == "removed"
        for method in ("PATCH", "OPTIONS"):
            answer = await http.request(method, "/projects", headers=csrf)
            assert (answer.status_code, answer.json()["type"]) == (405, "error")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", "x"]
)
async def test_a_page_of_another_site_changes_nothing(server: Installation, origin: str) -> None:
    http, csrf = await browser(server)
    async with contextlib.aclosing(http):
        answer = await http.post("/projects", json={"name": "x"}, headers={**csrf, "Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "InvalidOrigin")
        forced = await http.post("/token", json={"code": f"admin:{PASSWORD}"}, headers={"Origin": origin})
        assert forced.status_code == 403
        assert "set-cookie" not in forced.headers
        own = await http.post("/projects", json={"name": "x"}, headers={**csrf, "Origin": server.base})
        assert own.status_code == 201
        proxied = {
            **csrf,
            "Origin": "https://remuda.example",
            "X-Forwarded-Host": "remuda.example",
            "X-Forwarded-Proto": "https",
        }
        assert (await http.post("/projects", json={"name": "y"}, headers=proxied)).status_code == 201


async def test_with_access_control_off_a_page_of_another_site_still_changes_nothing(server: Installation) -> None:
    async with server.admin(None) as admin, server.client() as stranger:
        await admin.put("/settings/api.security.enabled", json={"value": "false"})
        foreign = {"Origin": "https://evil.example"}
        assert (await stranger.post("/projects", json={"name": "x"}, headers=foreign)).status_code == 403
        assert (await stranger.post("/projects", json={"name": "x"})).status_code == 201


async def test_a_page_of_another_site_does_not_listen(server: Installation) -> None:
    http, _ = await browser(server)
    cookie = {"Cookie": f"token={http.cookies['token']}"}
    await http.aclose()
    url = f"{server.base.replace('http', 'ws')}/v1/projects/1a5/subscribe?eventNames=resource.change"
    for extra in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
        with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
            async with websockets.connect(url, additional_headers={**cookie, **extra}) as socket:
                await socket.recv()
    async with websockets.connect(url, additional_headers={**cookie, "Origin": server.base}) as socket:
        assert "ping" in str(await asyncio.wait_for(socket.recv(), 5))
    async with websockets.connect(url, additional_headers=bearer(server.jwt)) as socket:
        assert "ping" in str(await asyncio.wait_for(socket.recv(), 5))


async def test_the_login_cookie_is_kept_from_scripts_and_from_plain_http_behind_tls(server: Installation) -> None:
    async with server.client(headers={**BROWSER, "X-Forwarded-Proto": "https"}) as http:
        answer = await http.post("/token", json={"code": f"admin:{PASSWORD}"})
        cookies = {c.split("=")[0]: c.lower() for c in answer.headers.get_list("set-cookie")}
    assert all(word in cookies["token"] for word in ("httponly", "samesite=lax", "secure", "path=/"))
    assert "secure" in cookies["CSRF"]


HOSTILE = [
    "$(reboot)",
    "`reboot`",
    'x";reboot;"',
    "a b",
    "x'y",
    "a/b",
    "a?b",
    "a#b",
    "u@h",
    "x\tz",
    "-v",
    "",
    "a,b;c",
    "[::1",
    "h:99999999",
]


@pytest.mark.parametrize("host", HOSTILE)
async def test_what_headers_say_never_reaches_a_shell(server: Installation, host: str) -> None:
    async with server.admin() as http:
        for header in ("Host", "X-Forwarded-Host"):
            answer = await http.post("/registrationtokens", headers={header: host} if host else {})
            if answer.status_code == 400:
                assert host in HOSTILE
                continue
            command = answer.json()["command"]
            words = shlex.split(command)
            assert words[-1] == answer.json()["registrationUrl"]
            assert not set("$`;&|<>\"'\n ") & set(words[-1])


async def test_the_script_holds_what_was_checked_only(server: Installation) -> None:
    async with server.admin() as http:
        token = (await http.post("/registrationtokens")).json()["token"]
    async with server.client() as http:
        for told, address in (('1.2.3.4"; reboot; "', "127.0.0.1"), ("10.1.2.3, 10.0.0.1", "10.1.2.3"), ("$(id)", "127.0.0.1"),
                              ("fd00::7", "fd00::7"), ("x" * 5000, "127.0.0.1")):  # fmt: skip
            text = (await http.get(f"/scripts/{token}", headers={"X-Forwarded-For": told})).text
            assert exports(text)["DETECTED_CATTLE_AGENT_IP"] == address
        assert (await http.get(f"/scripts/{token}é")).status_code == 404
        assert (await http.get("/scripts/ca.crt")).status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api.host", "http://$(reboot)"), ("api.host", 'http://x";y'), ("api.host", "http://"), ("api.host", "http://a b"),
        ("api.host", "http://h/?x=`id`"), ("agent.image", "x; reboot"), ("agent.image", "$(id)"), ("agent.image", ""),
        ("agent.image", "-v"), ("api.auth.jwt.token.expiry", "9" * 5000), ("api.auth.jwt.token.expiry", "²"),
        ("events.purge.after.seconds", "-1"), ("x" * 300, "y"), ("rancher.server.version", "v9"),
    ],
)  # fmt: skip
async def test_settings_that_end_in_commands_are_checked(server: Installation, name: str, value: str) -> None:
    async with server.admin(None) as http:
        answer = await http.put(f"/settings/{name}", json={"value": value})
        assert answer.status_code == 422, answer.text
        assert (await http.post("/token", json={"code": f"admin:{PASSWORD}"})).status_code == 201


@pytest.mark.parametrize(
    "path", ["/projects/1a5%0d%0aX-Evil:1/hosts", "/projects/1a5%0d%0a/hosts", "/projects/1a%d9%a5/hosts"]
)
async def test_paths_do_not_become_headers(server: Installation, path: str) -> None:
    async with server.admin(None) as http:
        answer = await http.get(path)
        assert answer.status_code in (403, 404)
        assert "x-evil" not in answer.headers


async def test_the_audit_log_says_who_told_us_the_address(server: Installation) -> None:
    async with server.admin() as http:
        headers = {"X-Forwarded-For": "203.0.113.9"}
        await http.post("/environments", json={"name": "a"}, headers=headers)
        newest = (await http.get("/auditlogs?sort=id&order=desc&limit=1")).json()["data"][0]
        assert newest["clientIp"] == "203.0.113.9"  # the proxy is on this machine
        await http.post("/environments", json={"name": "b"}, headers={"X-Forwarded-For": "x" * 3000})
        newest = (await http.get("/auditlogs?sort=id&order=desc&limit=1")).json()["data"][0]
        assert newest["clientIp"] == "127.0.0.1"


async def test_logins_and_logouts_are_in_the_audit_log(server: Installation) -> None:
    account, headers = await person(server, "ann")
    async with server.client(headers=headers) as http:
        assert (await http.delete("/token")).status_code == 204
    async with server.admin(None) as http:
        newest = (await http.get("/auditlogs?sort=id&order=desc&limit=2")).json()["data"]
        assert [e["eventType"] for e in newest] == ["api.token.remove", "api.token.create"]
        assert {e["authenticatedAsAccountId"] for e in newest} == {account}


async def test_guessing_passwords_becomes_slow_for_who_guesses(server: Installation) -> None:
    async with server.client() as http:
        for _ in range(FREE):
            assert (await http.post("/token", json={"code": "admin:wrong"})).status_code == 401
        answer = await http.post("/token", json={"code": f"admin:{PASSWORD}"})
        assert (answer.status_code, answer.json()["code"]) == (429, "TooManyRequests")
        assert answer.headers["retry-after"]
        elsewhere = await http.post(
            "/token", json={"code": f"admin:{PASSWORD}"}, headers={"X-Forwarded-For": "198.51.100.7"}
        )
        assert elsewhere.status_code == 201


def test_the_pause_doubles_up_to_a_bound_and_ends_with_a_success() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    for _ in range(FREE + 8):
        throttle.failed("x")
        waits.append(throttle.wait("x"))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 :] == [1, 2, 4, 8, 16, *[LONGEST] * 4]
    now[0] = LONGEST
    assert throttle.wait("x") == 0
    throttle.passed("x")
    throttle.failed("x")
    assert throttle.wait("x") == 0


async def test_a_flood_of_logins_is_refused_with_a_reason_and_does_not_queue(server: Installation) -> None:
    def verify(_hashed: str, _password: str) -> bool:
        time.sleep(0.05)
        return False

    server.api.keyring._hasher = types.SimpleNamespace(verify=verify)  # type: ignore[attr-defined]
    async with server.client() as http:
        tries = [http.post("/token", json={"code": f"nobody{n}:x"}) for n in range(40)]
        answers = await asyncio.gather(*tries)
        assert {a.status_code for a in answers} == {401, 503}
        busy = next(a for a in answers if a.status_code == 503)
        assert (busy.json()["code"], "again" in busy.json()["message"]) == ("Busy", True)
        assert (await http.post("/token", json={"code": "later:x"})).status_code == 401


async def test_people_who_may_not_make_accounts_do_not_make_us_hash(server: Installation) -> None:
    _, headers = await person(server, "ann")

    async def hashing(_password: str) -> str:
        raise Busy("must not be asked")

    server.api.keyring.hash_password = hashing  # type: ignore[method-assign,assignment]
    async with server.client(headers=headers) as http:
        assert (await http.post("/accounts", json={"username": "x", "password": PASSWORD})).status_code == 403


async def test_strangers_send_little_and_members_not_too_much(server: Installation) -> None:
    big = b'{"code": "' + b"x" * 70_000 + b'"}'

    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    async with server.client() as http:
        assert (await http.post("/token", content=big)).status_code == 413
        assert (await http.post("/token", content=chunks())).status_code == 413
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
        assert (await http.post("/token", content=part, headers=form)).status_code == 400
        ok = f'--b\r\nContent-Disposition: form-data; name="code"\r\n\r\nadmin:{PASSWORD}\r\n--b--\r\n'
        assert (await http.post("/token", content=ok.encode(), headers=form)).status_code == 201
    async with server.admin() as http:
        deep = b'{"name":"x","metadata":' + b'{"a":' * 200 + b"1" + b"}" * 201
        assert (await http.post("/services", content=deep)).status_code == 400
        huge = b'{"name":"x","scale":' + b"9" * 40 + b"}"
        assert (await http.post("/services", content=huge)).status_code == 400
        long = {"name": "x", "dockerCompose": "#" * (513 * 1024)}
        assert (await http.post("/environments", json=long)).json()["code"] == "MaxLengthExceeded"


async def test_answers_are_not_sniffed_framed_or_kept(server: Installation) -> None:
    async with server.admin() as http:
        for path in ("/hosts", "/nothing", "/registrationtokens"):
            headers = (await http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"


def test_masking_reaches_into_lists_and_stays_small() -> None:
    body = {
        "a": [[{"password": "p1"}]],
        "launchConfig": {"environment": {"K": "p2"}},
        "environment": ["K=p3"],
        "x" * 999: 1,
    }
    text = str(masked({**body, **{f"k{n}": n for n in range(5000)}}))
    assert not any(secret in text for secret in ("p1", "p2", "p3"))
    assert len(text) < 3000


def test_two_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "deep" / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        keys = {ring.root for ring in pool.map(lambda _: FileKeyring.load(path), range(8))}
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["secret.key"]


def test_tokens_of_other_algorithms_and_keys_are_no_tokens(tmp_path: Path) -> None:
    import base64
    import json

    ring, other = FileKeyring.load(tmp_path / "a"), FileKeyring.load(tmp_path / "b")
    good = ring.sign({"use": "login", "sid": "s"}, 60)
    head, body, mac = good.split(".")

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    assert ring.verify(good)
    none = part({"alg": "none"})
    for bad in (f"{none}.{body}.", f"{none}.{body}.{mac}", f"{part({'alg': 'HS512'})}.{body}.{mac}", f"{head}.{body}.", "",
                "a.b.c", other.sign({"use": "login"}, 60), ring.sign({"use": "login"}, -1), good[:-2], "é.é.é"):  # fmt: skip
        assert ring.verify(bad) is None, bad

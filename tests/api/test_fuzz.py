"""Whatever is sent, wherever: the answer is a documented one, and what was refused changed nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remuda.schema.registry import TYPES

from .conftest import Installation, installation
from .people import STACK

PATHS = ["", "setup", "token", "register", "scripts", "scripts/x", "identities", "nothing", "publish",
         *sorted({t.plural_name.lower() for t in TYPES.values()} - {"subscribe"})]  # fmt: skip
ROWS = [
    "",
    "/1",
    "/1e1",
    "/1s1",
    "/1a1",
    "/1a5",
    "/1c1",
    "/1i1",
    "/haconfig",
    "/api.host",
    "/1as!x",
    "/1x999999999999999999",
    "/-",
    "/é",
]
LINKS = ["", "/services", "/instances", "/environment", "/stats", "/execute", "/a/b"]
ACTIONS = sorted({a.name for t in TYPES.values() for a in t.actions} - {"createscript"} | {"dance", "update"})
FIELDS = sorted({f.name for t in TYPES.values() for f in t.fields if f.create or f.update} - {"password"})
WORDS = st.sampled_from(
    [
        "",
        "x",
        "1a5",
        "1e1",
        "1h1",
        "²",
        "--5",
        "-1",
        "9" * 30,
        "a\nb",
        "\ud7ff",
        "\x00",
        "é",
        "x" * 300,
        "docker:x",
        "%",
        "true",
        "1e999",
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(), WORDS, st.text(max_size=12))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "é", ""]), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)
KEYS = ["limit", "marker", "sort", "order", "include", "name_like", "created_lt", "created", "id", "id_ne", "scale_gt", "removed",
        "removed_null", "state", "accountId", "resourceId", "projectId", "token", "_method", "action", "all", "name"]  # fmt: skip
QUERIES = st.lists(st.tuples(st.sampled_from(KEYS), WORDS | st.text(max_size=8)), max_size=3)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]),
    st.sampled_from(["", "/projects/1a5", "/projects/1a²", "/projects/1a7"]),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(ROWS), st.sampled_from(LINKS)).map(
        lambda parts: "/" + "".join(parts)
    ),
    st.one_of(st.none(), st.sampled_from(ACTIONS)),
    QUERIES,
    BODIES,
)


class Server:
    """An installation on a loop of its own, because hypothesis is synchronous."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.manager = installation(folder)
        self.one: Installation = self.runner.run(self.manager.__aenter__())
        self.runner.run(self.one.set_up())
        self.runner.run(self._furnish())
        self.http = self.one.client(headers={"Authorization": f"Bearer {self.one.jwt}"})

    async def _furnish(self) -> None:
        async with self.one.admin() as http:
            await http.post("/environments", json=STACK)
            await http.post("/containers", json={"name": "c", "imageUuid": "docker:x"})

    def close(self) -> None:
        self.runner.run(self.http.aclose())
        self.runner.run(self.manager.__aexit__(None, None, None))
        self.runner.close()

    def last_change(self) -> int:
        return self.runner.run(self.one.api.store.read(lambda tx: tx.last_change()))

    def ask(
        self, method: str, url: str, content: bytes | None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        return self.runner.run(self.http.request(method, url, content=content, headers=headers))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("fuzz"))
    try:
        yield one
    finally:
        one.close()


def lenient(value: Any) -> bytes:
    """JSON as clients send it, also what is not quite JSON (NaN)."""
    import json

    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.timeout(120)
def test_no_request_is_answered_by_a_mistake_and_refusals_change_nothing(server: Server) -> None:
    @settings(max_examples=1000, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(REQUESTS)
    def run(request: tuple[Any, ...]) -> None:
        method, scope, path, action, query, body = request
        if method == "DELETE" and "token" in path:
            return  # it would log us out
        pairs = [*query, *([("action", action)] if action and method == "POST" else [])]
        text = "&".join(f"{quote(k)}={quote(v.encode('utf-8', 'replace'))}" for k, v in pairs)
        url = quote(scope + path, safe="/!") + (f"?{text}" if text else "")
        before = server.last_change()
        answer = server.ask(method, url, lenient(body) if method in ("POST", "PUT") else None)
        assert answer.status_code != 500, (method, url, body, answer.text)
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json()["type"] == "error", (method, url)
            # the controllers may act meanwhile on what earlier requests left; a refusal itself adds nothing
            assert server.last_change() == before or answer.status_code in (401, 409), (method, url, body, answer.text)

    run()
    answers = [
        server.ask("GET", f"/projects/1a5/{t.plural_name.lower()}", None)
        for t in TYPES.values()
        if t.record is not None and "l" in t.rights.get("projectadmin", "")
    ]
    assert {a.status_code for a in answers} == {200}  # nothing that was stored makes a list unreadable


@pytest.mark.parametrize("field", ["metadata", "launchConfig", "secondaryLaunchConfigs", "dependsOn"])
@pytest.mark.parametrize("value", ["x", [1], [[{}]], 5, True, {"a": [1e308]}])
def test_a_value_of_the_wrong_kind_never_makes_the_row_unreadable(server: Server, field: str, value: Any) -> None:
    name = f"s{abs(hash((field, str(value))))}"[:60]
    stack = server.ask("POST", "/projects/1a5/environments", lenient({"name": name})).json()["id"]
    body = {"name": "s", "environmentId": stack, "launchConfig": {"imageUuid": "docker:x"}}
    made = server.ask("POST", "/projects/1a5/services", lenient(body)).json()["id"]
    answer = server.ask("PUT", f"/projects/1a5/services/{made}", lenient({field: value}))
    assert answer.status_code in (200, 422)
    assert server.ask("GET", "/projects/1a5/services", None).status_code == 200


HEADERS = ["host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-for", "x-api-project-id",
           "authorization", "cookie", "origin", "content-type", "accept", "x-api-csrf"]  # fmt: skip


@pytest.mark.timeout(60)
def test_no_header_is_answered_by_a_mistake(server: Server) -> None:
    @settings(max_examples=100, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(
        st.dictionaries(
            st.sampled_from(HEADERS),
            st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
        )
    )
    def run(headers: dict[str, str]) -> None:
        raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        for method, path in (("GET", "/hosts"), ("POST", "/composeplans"), ("GET", "/setup"), ("POST", "/token")):
            answer = server.ask(method, path, b"{}" if method == "POST" else None, raw)  # type: ignore[arg-type]
            assert answer.status_code < 500, (method, path, headers, answer.text)

    run()

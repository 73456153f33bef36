"""A client as programs in Go are: it finds everything by the schemas, and reads answers into types that forgive nothing.

What it demands is what the Rancher CLI, rancher-compose and the Terraform provider need: the schemas are found by a header, a
type without a collection link does not exist, bodies are sent without a content type, an action without input is sent ``null``,
a number that is a string (or an object that is a list) is fatal. Sockets are closed without reading to the end.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2

Document = dict[str, Any]
JSON_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "password": (str,), "enum": (str,), "date": (str,), "int": (int,), "float": (int, float),
    "boolean": (bool,), "json": (object,),
}  # fmt: skip


class Fatal(Exception):
    """The answer cannot be read into the client's types."""


class GoClient:
    """One program's connection. ``base`` is the URL that it was configured with."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self.base, self._headers = base.rstrip("/"), {**headers, "Accept": "application/json"}
        self.schemas: dict[str, Document] = {}
        self.asked: list[tuple[str, str]] = []

    async def open(self) -> GoClient:
        """Find the schemas: by the URL itself, then where its answer says that they are."""
        answer = await self._send("GET", self.base)
        where = answer.headers.get("X-API-Schemas")
        if not where:
            raise Fatal("no schemas at " + self.base)
        if where != self.base:
            answer = await self._send("GET", where)
        for schema in answer.json()["data"]:
            self.schemas[schema["id"]] = schema
            if schema["collectionMethods"] and "collection" not in schema["links"]:
                raise Fatal(f"{schema['id']} has no collection")
        return self

    def collection(self, kind: str) -> str:
        """Where things of this type are."""
        if kind not in self.schemas or "collection" not in self.schemas[kind]["links"]:
            raise Fatal(f"Unknown schema type [{kind}]")
        return str(self.schemas[kind]["links"]["collection"])

    async def list(self, kind: str, **filters: Any) -> list[Document]:
        """All things of a type that fit."""
        found = await self._told("GET", self.collection(kind), params=filters)
        if found.get("type") != "collection":
            raise Fatal(f"{kind}: a list was expected")
        return [self.read(one) for one in found["data"]]

    async def by_id(self, kind: str, key: str) -> Document | None:
        """The thing of this id, or what else the server finds under this word; None where there is nothing."""
        answer = await self._send("GET", f"{self.collection(kind)}/{key}")
        return None if answer.status_code == 404 else self.read(_sound(answer))

    async def lookup(self, kind: str, word: str) -> Document | None:
        """By id, else by name, as the CLI does with what people type."""
        found = await self.by_id(kind, word)
        if found is not None and found["id"] == word:
            return found
        named = await self.list(kind, name=word, removed_null="1")
        return named[0] if named else None

    async def create(self, kind: str, body: Document) -> Document:
        """Make one."""
        return self.read(await self._told("POST", self.collection(kind), body))

    async def update(self, thing: Document, body: Document) -> Document:
        """Change one."""
        return self.read(await self._told("PUT", thing["links"]["self"], body))

    async def delete(self, thing: Document) -> Document:
        """Remove one."""
        return self.read(await self._told("DELETE", thing["links"]["self"]))

    async def act(self, thing: Document, action: str, body: Document | None = None) -> Document:
        """Ask something of one; the server must offer it."""
        if action not in thing["actions"]:
            raise Fatal(f"{thing['type']} offers no {action}: {sorted(thing['actions'])}")
        return self.read(await self._told("POST", thing["actions"][action], body))

    async def link(self, thing: Document, name: str) -> list[Document]:
        """What a link leads to."""
        return [self.read(one) for one in (await self._told("GET", thing["links"][name]))["data"]]

    def read(self, document: Document) -> Document:
        """The document, if the client's types can hold it."""
        schema = self.schemas.get(str(document.get("type")))
        if schema is None:
            raise Fatal(f"Unknown schema type [{document.get('type')}]")
        for name in ("links", "actions"):
            if not isinstance(document.get(name, {}), dict):
                raise Fatal(f"{document['type']}.{name}: no map")
        self._fields(document, schema, document["type"])
        return document

    def _fields(self, document: Document, schema: Document, path: str) -> None:
        for name, field in schema["resourceFields"].items():
            if name in document:
                self._value(document[name], field["type"], f"{path}.{name}")

    def _value(self, value: Any, kind: str, path: str) -> None:
        if value is None:
            return
        outer, _, rest = kind.partition("[")
        inner = rest.removesuffix("]")
        if kind in JSON_KINDS or outer == "reference":
            wanted = JSON_KINDS.get(kind, (str,))
            if not isinstance(value, wanted) or (
                isinstance(value, bool) and bool not in wanted and object not in wanted
            ):
                raise Fatal(f"json: cannot unmarshal {value!r} into {path} of type {kind}")
        elif outer == "array":
            self._expect(value, list, path)
            for one in value:
                self._value(one, inner, path)
        elif outer == "map":
            self._expect(value, dict, path)
            for one in value.values():
                self._value(one, inner, path)
        else:
            self._expect(value, dict, path)
            if kind in self.schemas:
                self._fields(value, self.schemas[kind], path)

    @staticmethod
    def _expect(value: Any, kind: type, path: str) -> None:
        if not isinstance(value, kind):
            raise Fatal(f"json: cannot unmarshal {value!r} into {path}")

    async def _told(
        self, method: str, url: str, body: Document | None = None, params: dict[str, Any] | None = None
    ) -> Document:
        return _sound(await self._send(method, url, body, params))

    async def _send(
        self, method: str, url: str, body: Document | None = None, params: dict[str, Any] | None = None
    ) -> httpx2.Response:
        content = json.dumps(body).encode() if method in ("POST", "PUT") else None
        self.asked.append((method, url))
        async with httpx2.AsyncClient(headers=self._headers, timeout=10) as http:
            return await http.request(method, url, content=content, params=params)


def _sound(answer: httpx2.Response) -> Document:
    if answer.status_code >= 400:
        raise Fatal(f"Bad response statusCode [{answer.status_code}]: {answer.text}")
    return answer.json()  # type: ignore[no-any-return]

"""``/v1-catalog``: templates, their versions and the catalogs that they come from, as 1.x clients ask for them.

These are documents of files, not rows: no states, no actions but ``refresh``. Which catalogs there are is a setting, so adding
one here is changing that. Launching a template is making a stack with its files; the paths of stacks do that.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response

from remuda.api.audit import audit
from remuda.api.context import Context
from remuda.api.errors import ApiError, not_found
from remuda.api.resources.settings import Settings
from remuda.catalog.index import default
from remuda.catalog.model import Question, Template, Version
from remuda.catalog.sources import SETTING, Source, check, sources, written
from remuda.catalog.versions import newer, offered, within
from remuda.control.catalogs import Catalog, Catalogs
from remuda.ports.store import Tx
from remuda.schema.fields import AGENT, ANONYMOUS, REGISTER
from remuda.schema.registry import TYPES

ROOT = "v1-catalog"
OFFERED_BASES = ("", "infra")
"""Templates of other families are for orchestrators that Remuda is not; who asks for them by name sees them."""
Document = dict[str, Any]


class _Page:
    """The URLs of one request, and who asks."""

    def __init__(self, ctx: Context, catalogs: Catalogs) -> None:
        self.ctx, self.catalogs = ctx, catalogs
        self.server = ctx.param("rancherVersion") or ctx.api.settings.get("rancher.server.version")

    def url(self, *parts: str) -> str:
        return "/".join((self.ctx.root, ROOT, *parts))

    def answer(self, document: Any, status: int = 200) -> Response:
        response = self.ctx.api.json(self.ctx, document, status)
        response.headers["X-API-Schemas"] = self.url("schemas")
        return response

    def collection(self, kind: str, path: str, data: list[Document]) -> Response:
        links = {"self": self.url(path)} if path else {"self": f"{self.ctx.root}/{ROOT}"}
        return self.answer(
            {"type": "collection", "resourceType": kind, "links": links, "actions": {}, "data": data, "createTypes": {},
             "sortLinks": {}, "filters": {}, "pagination": None, "sort": None}
        )  # fmt: skip

    # -- documents -------------------------------------------------------------------------------------------------
    def versions(self, template: Template) -> list[Version]:
        """Those that this server may be offered."""
        return [one for one in template.versions if offered(self.server, one.minimum, one.maximum)]

    def template(self, template: Template) -> Document:
        found = self.versions(template)
        chosen = default(template, found)
        own = self.url("templates", template.id)
        links = {"self": own, **({"icon": f"{own}?image"} if template.icon else {})}
        if template.readme or (chosen and chosen.readme):
            links["readme"] = (
                f"{own}?readme" if template.readme else f"{own}:{chosen.revision if chosen else ''}?readme"
            )
        if template.project_url:
            links["project"] = template.project_url
        return {
            "id": template.id, "type": "template", "links": links, "actions": {}, "name": template.name,
            "catalogId": template.catalog, "category": template.category,
            "categories": [template.category] if template.category else [], "description": template.description,
            "defaultVersion": template.default_version,
            "defaultTemplateVersionId": f"{template.id}:{chosen.revision}" if chosen else "",
            "folderName": template.folder, "templateBase": template.base, "path": template.path,
            "maintainer": template.maintainer, "license": template.license, "projectURL": template.project_url,
            "labels": template.labels, "versionLinks": {one.version: f"{own}:{one.revision}" for one in found},
        }  # fmt: skip

    def version(self, template: Template, version: Version) -> Document:
        own = self.url("templates", f"{template.id}:{version.revision}")
        links = {"self": own, "template": self.url("templates", template.id)}
        if template.icon:
            links["icon"] = f"{self.url('templates', template.id)}?image"
        if version.readme or template.readme:
            links["readme"] = f"{own}?readme"
        upgrades = [
            one for one in self.versions(template)
            if newer(one.version, version.version) and (not one.upgrade_from or within(version.version, one.upgrade_from))
        ]  # fmt: skip
        return {
            "id": f"{template.id}:{version.revision}", "type": "templateVersion", "links": links, "actions": {},
            "templateId": template.id, "catalogId": template.catalog, "templateBase": template.base,
            "name": template.name, "version": version.version,
            "revision": int(version.revision) if version.revision.isdecimal() else None,
            "externalId": f"{template.external_id}:{version.revision}",
            "minimumRancherVersion": version.minimum, "maximumRancherVersion": version.maximum,
            "upgradeFrom": version.upgrade_from, "labels": version.labels, "bindings": None,
            "questions": [msgspec.to_builtins(one) for one in version.questions],
            "files": {name: self.text(template, version, name) for name in version.files if "/" not in name},
            "upgradeVersionLinks": {
                one.version: self.url("templates", f"{template.id}:{one.revision}") for one in upgrades
            },
        }  # fmt: skip

    def text(self, template: Template, version: Version, name: str) -> str:
        return self.catalogs.read(template, f"{version.folder}/{name}").decode(errors="replace")

    def catalog(self, catalog: Catalog) -> Document:
        source = catalog.source
        own = self.url("catalogs", source.name)
        return {
            "id": source.name, "type": "catalog", "name": source.name, "url": source.url, "branch": source.branch,
            "kind": "native", "commit": catalog.commit, "state": "active" if catalog.commit else "activating",
            "transitioning": "error" if catalog.problem else "no" if catalog.commit else "yes",
            "transitioningMessage": catalog.problem,
            "findings": [msgspec.to_builtins(one) for one in catalog.findings],
            "links": {"self": own, "templates": f"{own}/templates"}, "actions": {"refresh": f"{own}?action=refresh"},
        }  # fmt: skip


async def serve(ctx: Context, method: str, parts: list[str], body: Document) -> Response:
    """One request below ``/v1-catalog``."""
    catalogs = ctx.api.catalogs
    if catalogs is None:
        raise not_found("catalog service of this server")
    if ctx.caller.role in (ANONYMOUS, REGISTER, AGENT):
        raise ApiError(401, "Unauthorized", "Log in, or send an API key.")
    page = _Page(ctx, catalogs)
    head, rest = (parts[0].lower() if parts else ""), parts[1:]
    if method == "POST" and ctx.param("action") == "refresh" and head in ("catalogs", "templates"):
        return await _refresh(page, rest[:1] if head == "catalogs" else [])
    if head in ("catalogs", "catalog") and method in ("POST", "PUT", "DELETE"):
        return await _change(page, method, rest, body)
    if method != "GET":
        raise ApiError(405, "", f"{method} is not offered here.")
    match head:
        case "":
            links = {"self": f"{ctx.root}/{ROOT}", **{name: page.url(name) for name in ("schemas", *_PLURALS.values())}}
            return page.answer({"id": ROOT, "type": "apiVersion", "links": links, "actions": {}})
        case "schemas" | "schema":
            return _schemas(page, rest)
        case "catalogs" | "catalog":
            return _catalogs(page, rest)
        case "templates" | "template" | "templateversions" | "templateversion" if rest:
            return _one(page, rest[0])
        case "templates" | "template":
            return page.collection("template", "templates", _listed(page, ""))
        case "templateversions" | "templateversion":
            raise ApiError(
                405, "", "Name one: /v1-catalog/templateversions/<template>:<revision>; templates list theirs."
            )
    raise not_found(head)


def _catalogs(page: _Page, rest: list[str]) -> Response:
    if not rest:
        return page.collection("catalog", "catalogs", [page.catalog(one) for one in page.catalogs.all()])
    found = next((one for one in page.catalogs.all() if one.source.name == rest[0]), None)
    if found is None:
        raise not_found(f"catalog '{rest[0]}'")
    if rest[1:] == ["templates"]:
        return page.collection("template", f"catalogs/{rest[0]}/templates", _listed(page, rest[0]))
    return page.answer(page.catalog(found))


def _listed(page: _Page, catalog: str) -> list[Document]:
    """Templates with a version for this server, that pass the filters of the query."""
    query = page.ctx.query
    bases = [value for name, value in query if name in ("templateBase", "templateBase_eq")] or list(OFFERED_BASES)
    known = [
        template for template in page.catalogs.templates()
        if (not catalog or template.catalog == catalog) and template.base in bases and page.versions(template)
    ]  # fmt: skip
    for name, field in (("catalogId", _catalog), ("category", _category), ("name", _name), ("folderName", _folder)):
        wanted = {value.lower() for key, value in query if key in (name, f"{name}_eq")}
        unwanted = {value.lower() for key, value in query if key == f"{name}_ne"}
        known = [one for one in known if (not wanted or field(one) in wanted) and field(one) not in unwanted]
    word = (page.ctx.param("search") or "").lower()
    found = [one for one in known if not word or word in f"{one.name} {one.description} {one.folder}".lower()]
    return [page.template(one) for one in sorted(found, key=lambda one: (one.name.lower(), one.id))]


def _catalog(template: Template) -> str:
    return template.catalog.lower()


def _category(template: Template) -> str:
    return template.category.lower()


def _name(template: Template) -> str:
    return template.name.lower()


def _folder(template: Template) -> str:
    return template.folder.lower()


def _one(page: _Page, public: str) -> Response:
    """A template by its id, or a version by the template's with its revision."""
    template = page.catalogs.find(public)
    version: Version | None = None
    if template is None:
        owner, _, revision = public.rpartition(":")
        template = page.catalogs.find(owner)
        version = template.find(revision) if template else None
        if template is None or version is None:
            raise not_found(f"template '{public}'")
    asked = {name for name, _ in page.ctx.query}
    try:
        if "image" in asked:
            return _file(page, template, template.icon and f"{template.path}/{template.icon}")
        if "readme" in asked:
            own = version.readme and f"{version.folder}/{version.readme}" if version else ""
            return _file(page, template, own or (template.readme and f"{template.path}/{template.readme}"))
        return page.answer(page.version(template, version) if version else page.template(template))
    except OSError:
        raise not_found(f"file of the template '{public}'") from None


def _file(page: _Page, template: Template, path: str) -> Response:
    if not path:
        raise not_found("such file of the template")
    kind = "text/plain" if path.lower().endswith(".md") else mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {
        "Cache-Control": "private, max-age=300",
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    }
    return Response(page.catalogs.read(template, path), media_type=kind, headers=headers)


async def _refresh(page: _Page, names: list[str]) -> Response:
    """Look for news on this server now; others look by themselves."""
    if names and names[0] not in {source.name for source in page.catalogs.sources()}:
        raise not_found(f"catalog '{names[0]}'")
    await page.catalogs.refresh(names)
    return page.answer({"type": "collection", "resourceType": "catalog", "links": {}, "data": [
        page.catalog(one) for one in page.catalogs.all()]}, 202)  # fmt: skip


# -- which catalogs there are -----------------------------------------------------------------------------------------
async def _change(page: _Page, method: str, rest: list[str], body: Document) -> Response:
    ctx, kind = page.ctx, TYPES["setting"]
    if not ctx.can(kind, "u"):
        raise ApiError(403, "Forbidden", "Only administrators choose catalogs.")
    if (method == "POST") == bool(rest):
        raise ApiError(405, "", "POST to /v1-catalog/catalogs makes one; PUT and DELETE name one.")
    name = rest[0] if rest else str(body.get("name") or "")

    def unit(tx: Tx) -> None:
        settings = ctx.api.behaviour(kind)
        assert isinstance(settings, Settings)
        row = settings.by_name(tx, SETTING)
        known = {one.name: one for one in _readable(row.value if row and row.id else ctx.api.settings.get(SETTING))}
        if method == "POST" and name in known:
            raise ApiError(422, "NotUnique", f"There is a catalog '{name}'.", field="name")
        if method != "POST" and name not in known:
            raise not_found(f"catalog '{name}'")
        if method == "DELETE":
            del known[name]
        else:
            known[name] = _source(name, body, known.get(name))
        changed = settings.change(tx, ctx, SETTING, written(list(known.values())))
        audit(tx, ctx, f"api.catalog.{_VERBS[method]}", kind, changed, body, 201 if method == "POST" else 200)

    await ctx.api.write(unit)
    await ctx.api.settings.load(ctx.api.store)
    if method == "DELETE":
        return page.answer({"id": name, "type": "catalog", "name": name, "state": "removed", "transitioning": "no"})
    found = next((one for one in page.catalogs.all() if one.source.name == name), None)
    if found is None:
        raise not_found(f"catalog '{name}'")
    return page.answer(page.catalog(found), 201 if method == "POST" else 200)


_VERBS = {"POST": "create", "PUT": "update", "DELETE": "remove"}


def _readable(setting: str) -> Iterable[Source]:
    try:
        return sources(setting)
    except ValueError as problem:
        raise ApiError(422, "InvalidState", f"The setting '{SETTING}' must be mended first: {problem}.") from None


def _source(name: str, body: Document, before: Source | None) -> Source:
    branch = body.get("branch", before.branch if before else "")
    found = Source(name=name, url=str(body.get("url") or (before.url if before else "")), branch=str(branch or ""))
    if not name:
        raise ApiError(422, "MissingRequired", "A catalog needs a name.", field="name")
    if not found.url:
        raise ApiError(422, "MissingRequired", "A catalog needs the address of its git repository.", field="url")
    try:
        check(found)
    except ValueError as problem:
        field = "name" if "name" in str(problem) else "branch" if "branch" in str(problem) else "url"
        raise ApiError(422, "InvalidFormat", f"{problem}.", field=field) from None
    return found


# -- schemas ----------------------------------------------------------------------------------------------------------
_PLURALS = {"catalog": "catalogs", "template": "templates", "templateVersion": "templateversions"}
_FIELDS = {
    "catalog": {"name": "string", "url": "string", "branch": "string", "kind": "string", "commit": "string",
                "state": "string", "transitioning": "string", "transitioningMessage": "string"},
    "template": {"name": "string", "catalogId": "string", "category": "string", "categories": "array[string]",
                 "description": "string", "defaultVersion": "string", "defaultTemplateVersionId": "string",
                 "folderName": "string", "templateBase": "string", "path": "string", "maintainer": "string",
                 "license": "string", "projectURL": "string", "labels": "map[string]", "versionLinks": "map[string]"},
    "templateVersion": {"templateId": "string", "catalogId": "string", "templateBase": "string", "name": "string",
                        "version": "string", "revision": "int", "externalId": "string",
                        "minimumRancherVersion": "string", "maximumRancherVersion": "string", "upgradeFrom": "string",
                        "labels": "map[string]", "bindings": "json", "questions": "array[question]",
                        "files": "map[string]", "upgradeVersionLinks": "map[string]"},
}  # fmt: skip
_CREATED = ("name", "url", "branch")
_KINDS = {int: "int", bool: "boolean", list: "array[string]"}


def _schemas(page: _Page, rest: list[str]) -> Response:
    data = [_schema(page, kind) for kind in _FIELDS] + [_question(page)]
    if rest and rest[0].lower() != "schemas":
        found = next((one for one in data if rest[0].lower() in (one["id"].lower(), one["pluralName"].lower())), None)
        if found is None:
            raise not_found(f"type '{rest[0]}'")
        return page.answer(found)
    return page.collection("schema", "schemas", data)


def _field(kind: str, *, create: bool = False) -> Document:
    return {"type": kind, "create": create, "update": create, "nullable": True, "required": False}


def _schema(page: _Page, kind: str) -> Document:
    edits = kind == "catalog" and page.ctx.can(TYPES["setting"], "u")
    fields = {name: _field(one, create=edits and name in _CREATED) for name, one in _FIELDS[kind].items()}
    return {
        "id": kind, "type": "schema", "pluralName": _PLURALS[kind],
        "links": {"self": page.url("schemas", kind.lower()), "collection": page.url(_PLURALS[kind])}, "actions": {},
        "resourceMethods": ["GET", *(["PUT", "DELETE"] if edits else [])],
        "collectionMethods": ["GET", *(["POST"] if edits else [])],
        "resourceFields": fields, "resourceActions": {"refresh": {}} if kind == "catalog" else {},
        "collectionActions": {"refresh": {}}, "collectionFields": {}, "collectionFilters": {}, "includeableLinks": [],
    }  # fmt: skip


def _question(page: _Page) -> Document:
    blank = msgspec.to_builtins(Question(variable=""))
    return {
        "id": "question", "type": "schema", "pluralName": "questions",
        "links": {"self": page.url("schemas", "question")}, "actions": {}, "resourceMethods": [], "collectionMethods": [],
        "resourceFields": {name: _field(_KINDS.get(type(value), "string")) for name, value in blank.items()},
        "resourceActions": {}, "collectionActions": {}, "collectionFields": {}, "collectionFilters": {}, "includeableLinks": [],
    }  # fmt: skip

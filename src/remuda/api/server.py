"""The API of one server: what its handlers share, and the routes."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.responses import Response

from remuda.api.audit import audit
from remuda.api.auth import Authenticator
from remuda.api.behaviour import Behaviour
from remuda.api.context import Caller, Context
from remuda.api.documents import Documents
from remuda.api.entry import set_up
from remuda.api.errors import ApiError
from remuda.api.lists import Lists
from remuda.api.logins import Logins
from remuda.api.metrics import Numbers
from remuda.api.resources import behaviours
from remuda.api.subscribe import Broadcaster
from remuda.api.throttle import Throttle
from remuda.api.values import SettingValues
from remuda.control.catalogs import Catalogs
from remuda.control.plane import ControlPlane
from remuda.control.streams import Tickets
from remuda.core import ids
from remuda.core.model import Record
from remuda.ports.cluster import Cluster
from remuda.ports.identity import Providers
from remuda.ports.keyring import Keyring
from remuda.ports.leases import Leases
from remuda.ports.store import Conflict, Duplicate, Store, Tx
from remuda.schema.fields import ResourceType

T = TypeVar("T")
CONFLICT_RETRIES = 5
log = structlog.get_logger()

QUORUM_PATIENCE = 0.8
"""A write waits so long for quorum to come back (an election takes less) before it is refused."""
LEADING_LEASE = "controllers/0"
encode = msgspec.json.Encoder().encode


class Api:
    """One server's API. Composed in ``run.server``; handlers get it through their :class:`Context`."""

    def __init__(
        self,
        *,
        store: Store,
        plane: ControlPlane,
        leases: Leases,
        keyring: Keyring,
        cluster: Cluster,
        settings: SettingValues,
        version: str,
        static: Path | None = None,
        ca_file: Path | None = None,
        setup_file: Path | None = None,
        simulated_hosts: bool = False,
        providers: Providers | None = None,
        catalogs: Catalogs | None = None,
    ) -> None:
        self.store, self.plane, self.leases, self.keyring = store, plane, leases, keyring
        self.cluster, self.settings, self.version, self.static = cluster, settings, version, static
        self._ca_file, self._setup_file = ca_file, setup_file
        self.simulated_hosts, self.catalogs = simulated_hosts, catalogs
        self._behaviours = behaviours()
        self.auth = Authenticator(self)
        self.broadcaster = Broadcaster(self)
        self.tickets = Tickets(store, keyring, self.write)
        self.lists = Lists()
        self.documents = Documents()
        self.logins = Logins(self, providers)
        self.throttle = Throttle()
        self.metrics = CollectorRegistry()
        self.requests = Counter("remuda_http_requests", "Requests", ["method", "status"], registry=self.metrics)
        self.latency = Histogram("remuda_http_seconds", "Time to answer", ["method"], registry=self.metrics)
        self._counters: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.metrics.register(Numbers(self))

    def behaviour(self, kind: ResourceType) -> Behaviour:
        """What may be done with rows of this type."""
        return self._behaviours[kind.id]

    async def leading_node(self) -> str:
        """The node whose server holds the first share of the controllers' work, as far as this server knows."""
        member = self.leases.members().get(await self.leases.holder(LEADING_LEASE))
        return member.node if member else ""

    async def read(self, unit: Callable[[Tx], T]) -> T:
        """Run a unit that only reads."""
        return await self.store.read(unit)

    async def write(self, unit: Callable[[Tx], T]) -> T:
        """Run and commit a unit, if the control plane may decide anything now.

        Without quorum nothing is accepted: another part of the cluster may be deciding otherwise.
        """
        if not self.leases.quorum and not await self.leases.wait_quorum(QUORUM_PATIENCE):
            raise ApiError(
                503, "NoQuorum", f"The control plane has no quorum and takes no changes. {self.leases.reason} "
                "Running containers are not affected; reading works.",
            )  # fmt: skip
        for _ in range(CONFLICT_RETRIES):
            try:
                return await self.store.write(unit)
            except (Conflict, Duplicate):  # somebody changed the row, or made it, after we read: the unit reads again
                continue
        return await self.store.write(unit)

    async def note(self, ctx: Context, event: str, kind: ResourceType, record: Record, body: dict[str, Any]) -> None:
        """Audit something that changes no row."""
        await self.write(lambda tx: audit(tx, ctx, event, kind, record, body, 200))

    def json(self, ctx: Context | None, document: Any, status: int = 200) -> Response:
        """A document as a response, with the headers that clients rely on."""
        return self.encoded(ctx, self.bytes_of(ctx, document), status)

    def bytes_of(self, ctx: Context | None, document: Any) -> bytes:
        """A document as the caller wants it written."""
        return encode(_renamed(document) if ctx is not None and ctx.action_links else document)

    def encoded(self, ctx: Context | None, body: bytes, status: int = 200) -> Response:
        """The same for a document that is encoded already."""
        headers = {"Cache-Control": "no-store", "X-Rancher-Version": self.settings.get("rancher.server.version")}
        if ctx is not None:
            headers |= {"X-API-Schemas": ctx.url("schemas"), **_whose(ctx.caller)}
        return Response(body, status, headers, media_type="application/json; charset=utf-8")

    # ---- first run

    async def setup_secret(self) -> str | None:
        """The one-time secret, or None once there is an administrator.

        It follows from the root key, so all servers of an installation ask for the same one and none has to be stored.
        """
        if await self.store.read(set_up):
            return None
        return self.keyring.digest("setup secret")[:24]

    def setup_done(self) -> None:
        """Forget the copy on disk."""
        if self._setup_file is not None:
            self._setup_file.unlink(missing_ok=True)

    # ---- what agents are told

    def registration_base(self, root: str) -> str:
        """The base URL that agents use: the setting if there is one, else what the caller used."""
        told = self.settings.get("api.host").rstrip("/")
        return told.removesuffix("/v1") or root

    def ca_certificate(self) -> str:
        """The private CA that agents must trust, PEM; empty when there is none."""
        if self._ca_file is None or not self._ca_file.exists():
            return ""
        return self._ca_file.read_text()

    def ca_fingerprint(self) -> str:
        """SHA-256 of that certificate's DER form, in hex; empty when there is none."""
        pem = self.ca_certificate()
        if not pem:
            return ""
        first = pem[: pem.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN") :])).hexdigest()

    # ---- life

    async def run(self) -> None:
        """The API's own background work, until cancelled."""
        await self.broadcaster.run()

    def observed(self, method: str, status: int, started: float) -> None:
        """Count one answer."""
        counters = self._counters.get((method, status))
        if counters is None:  # looking them up costs more than counting
            counters = self._counters[method, status] = (
                self.requests.labels(method, str(status)),
                self.latency.labels(method),
            )
        counters[0].inc()
        counters[1].observe(time.perf_counter() - started)

    async def settle(self) -> None:
        """Before the first request: load what every request needs."""
        async with asyncio.timeout(30):
            await self.settings.load(self.store)


def _renamed(value: Any) -> Any:
    """A document and all within it with ``actionLinks`` in place of ``actions``."""
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    if not isinstance(value, dict) or "type" not in value:
        return value
    return {("actionLinks" if name == "actions" else name): _renamed(one) for name, one in value.items()}


def _whose(caller: Caller) -> dict[str, str]:
    """Who was recognised, and as which account the request was carried out."""
    if not caller.account_id:
        return {}
    acting = caller.project_id if caller.project_id is not None else caller.account_id
    return {
        "X-API-USER-ID": ids.public("account", caller.account_id) or "",
        "X-API-ACCOUNT-ID": ids.public("account", acting) or "",
        "X-API-ACCOUNT-KIND": caller.kind if caller.project_id is None else "project",
    }


def request_id() -> str:
    """A name for one request, shown in errors and logs."""
    return str(uuid.uuid4())

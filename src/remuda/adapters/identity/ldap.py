"""Log in with a directory: Active Directory (``ldap``) and OpenLDAP (``openldap``), by the attributes the operator names.

A service account looks the person up; then a second connection binds as them, with the password they typed. An empty password
is refused before: to a directory it means "nobody in particular", and it would say yes. Nothing is written, no referral is
followed (it would be told the password). The library is synchronous: every call has a thread of a small pool and deadlines.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

from remuda.adapters.identity.web import trust
from remuda.ports.identity import Attempt, Denied, Identity, Proof, ProviderDown

T = TypeVar("T")
SECONDS = 20.0
"""One login or search, all in all."""
MANY = 500
"""Groups of one person that are looked at."""
_POOL = ThreadPoolExecutor(4, thread_name_prefix="ldap")
_Entry = dict[str, Any]


class Directory:
    """A :class:`remuda.ports.identity.Provider`."""

    def __init__(self, family: str, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._family, self._config = family, dict(config)
        self._password = secrets.get("serviceAccountPassword") or ""
        for name in ("server", "domain", "serviceAccountUsername"):
            if not config.get(name):
                raise ValueError(f"{name}: it is missing")
        for name in ("domain", "groupSearchDomain"):
            try:
                parse_dn(config.get(name) or "dc=none")
            except LDAPException:
                raise ValueError(f"{name}: this is a distinguished name, e.g. dc=example,dc=com") from None
        if not self._password:
            raise ValueError("serviceAccountPassword: it is missing")
        self._wait = max(0.2, int(config.get("connectionTimeout") or 1000) / 1000)
        self._tls = self._trust() if config.get("tls") else None

    def _trust(self) -> ldap3.Tls:
        certificate = str(self._config.get("certificate") or "")
        trust(certificate)  # says what is wrong with it
        return ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_data=certificate or None, version=ssl.PROTOCOL_TLS_CLIENT)

    async def redirect(self, *, state: str, nonce: str, challenge: str, return_to: str) -> str:
        return ""

    async def login(self, attempt: Attempt) -> Proof:
        name, _, password = attempt.code.partition(":")
        if not name or not password:
            raise Denied("A name and a password are needed.")
        return await self._threaded(lambda: self._login(name, password))

    async def search(self, name: str) -> list[Identity]:
        return await self._threaded(lambda: self._search(name)) if name else []

    async def find(self, kind: str, identity: str) -> Identity | None:
        if kind not in (f"{self._family}_user", f"{self._family}_group"):
            return None
        return await self._threaded(lambda: self._find(kind, identity))

    async def _threaded(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.get_running_loop().run_in_executor(_POOL, work)
        except TimeoutError:
            raise ProviderDown(f"The directory does not answer within {SECONDS:g} seconds.") from None
        except LDAPException as problem:
            where = f"{self._config['server']}:{self._port}"
            raise ProviderDown(f"The directory at {where} cannot be asked: {str(problem)[:300]}.") from None

    # ---- in a thread

    @property
    def _port(self) -> int:
        return int(self._config.get("port") or (636 if self._tls else 389))

    def _connect(self, user: str, password: str) -> ldap3.Connection:
        server = ldap3.Server(
            self._config["server"], port=self._port, use_ssl=self._tls is not None, tls=self._tls,
            connect_timeout=self._wait, get_info=ldap3.NONE,
        )  # fmt: skip
        return ldap3.Connection(
            server, user=user, password=password, auto_referrals=False, receive_timeout=max(5, round(self._wait)),
            read_only=True, check_names=False, raise_exceptions=False,
        )  # fmt: skip

    def _as_service(self) -> ldap3.Connection:
        user = str(self._config["serviceAccountUsername"])
        domain = str(self._config.get("loginDomain") or "")
        if domain and not any(sign in user for sign in "=\\@"):
            user = f"{domain}\\{user}"
        connection = self._connect(user, self._password)
        if not connection.bind():
            raise ProviderDown(
                f"The directory refuses the service account: {connection.result.get('description')}. "
                "Check its name and password."
            )
        return connection

    def _login(self, name: str, password: str) -> Proof:
        with _closing(self._as_service()) as connection:
            found = self._users(connection, "userLoginField", name)
            if len(found) != 1 or self._disabled(found[0]):
                # as much work as for one who is there, so that names cannot be told by the time it takes
                self._binds(f"cn=nobody,{self._config['domain']}", password)
                raise Denied("That is not a user and password of the directory.")
            if not self._binds(found[0]["dn"], password):
                raise Denied("That is not a user and password of the directory.")
            groups = {group.id.lower(): group for group in self._groups(connection, found[0])}
        return Proof(user=self._user(found[0]), groups=tuple(groups.values()))

    def _binds(self, dn: str, password: str) -> bool:
        with _closing(self._connect(dn, password)) as connection:
            return bool(connection.bind())

    def _disabled(self, entry: _Entry) -> bool:
        flags = _first(entry, self._config.get("userEnabledAttribute"))
        mask = self._config.get("userDisabledBitMask")
        return bool(mask and flags.isdecimal() and int(flags) & int(mask))

    def _users(self, connection: ldap3.Connection, field: str, value: str) -> list[_Entry]:
        wanted = self._filter("userObjectClass", (str(self._config[field]), value))
        return self._entries(connection, self._config["domain"], wanted)

    def _filter(self, object_class: str, *either: tuple[str, str]) -> str:
        tests = "".join(f"({name}={escape_filter_chars(value)})" for name, value in either)
        return f"(&{self._any(object_class)}(|{tests}))"

    def _any(self, object_class: str) -> str:
        return f"(objectClass={escape_filter_chars(str(self._config[object_class]))})"

    def _entries(
        self, connection: ldap3.Connection, base: str, wanted: str, scope: str = ldap3.SUBTREE
    ) -> list[_Entry]:
        connection.search(base, wanted, search_scope=scope, attributes=self._attributes(), size_limit=MANY)
        code = connection.result.get("result")
        if code == 32:  # no such object: a base that is not there holds nobody
            return []
        if code not in (0, 4):
            raise ProviderDown(f"The directory answers '{connection.result.get('description')}' to a search in {base}.")
        return [e for e in connection.response or [] if e.get("type") == "searchResEntry"]

    def _attributes(self) -> list[str]:
        names = ("userLoginField", "userNameField", "userSearchField", "userMemberAttribute", "userEnabledAttribute",
                 "groupNameField", "groupSearchField", "groupDNField", "groupMemberUserAttribute")  # fmt: skip
        return sorted({"objectClass", *(str(self._config[n]) for n in names if self._config.get(n))})

    def _groups(self, connection: ldap3.Connection, user: _Entry) -> Iterator[Identity]:
        """Groups the person names, those of their primary number, and those that name the person."""
        pointers = [str(v) for v in _all(user, self._config.get("userMemberAttribute"))]
        for dn in pointers[:MANY]:
            if "=" in dn:
                for entry in self._entries(connection, dn, self._any("groupObjectClass"), ldap3.BASE):
                    yield self._group(entry)
        either = [(str(self._config["userMemberAttribute"]), p) for p in pointers if p.isdecimal()]
        mapping = self._config.get("groupMemberMappingAttribute")
        if mapping and self._family == "openldap":
            told = _first(user, self._config.get("groupMemberUserAttribute"))
            login = _first(user, self._config["userLoginField"])
            either += [(str(mapping), value) for value in {told, login, user["dn"]} if value]
        if either:
            base = str(self._config.get("groupSearchDomain") or self._config["domain"])
            for entry in self._entries(connection, base, self._filter("groupObjectClass", *either)):
                yield self._group(entry)

    def _search(self, name: str) -> list[Identity]:
        with _closing(self._as_service()) as connection:
            people = [self._user(e) for e in self._users(connection, "userSearchField", name)]
            base = str(self._config.get("groupSearchDomain") or self._config["domain"])
            wanted = self._filter("groupObjectClass", (str(self._config["groupSearchField"]), name))
            groups = [self._group(e) for e in self._entries(connection, base, wanted)]
        return people + groups

    def _find(self, kind: str, dn: str) -> Identity | None:
        is_user = kind.endswith("_user")
        try:
            parse_dn(dn)
        except LDAPException:
            return None
        wanted = self._any("userObjectClass" if is_user else "groupObjectClass")
        with _closing(self._as_service()) as connection:
            found = self._entries(connection, dn, wanted, ldap3.BASE)
        if not found or not self._within(dn):
            return None
        return self._user(found[0]) if is_user else self._group(found[0])

    def _within(self, dn: str) -> bool:
        bases = (self._config["domain"], self._config.get("groupSearchDomain") or self._config["domain"])
        return any(dn.lower().endswith(str(base).lower()) for base in bases)

    def _user(self, entry: _Entry) -> Identity:
        login = _first(entry, self._config["userLoginField"])
        name = _first(entry, self._config.get("userNameField")) or login
        return Identity(kind=f"{self._family}_user", id=entry["dn"], login=login, name=name)

    def _group(self, entry: _Entry) -> Identity:
        name = _first(entry, self._config.get("groupNameField")) or entry["dn"]
        return Identity(kind=f"{self._family}_group", id=entry["dn"], login=name, name=name)


class _closing:  # noqa: N801 - used like a function
    """A connection that is closed whatever happens (``with connection`` of the library binds it)."""

    def __init__(self, connection: ldap3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> ldap3.Connection:
        return self._connection

    def __exit__(self, *problem: Any) -> None:
        self._connection.unbind()


def _all(entry: _Entry, attribute: Any) -> list[Any]:
    if not attribute:
        return []
    wanted = str(attribute).lower()
    for name, value in entry["attributes"].items():
        if name.lower() == wanted:
            return list(value) if isinstance(value, list | tuple | set) else [value]
    return []


def _first(entry: _Entry, attribute: Any) -> str:
    values = _all(entry, attribute)
    value = values[0] if values else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""A real directory: OpenLDAP's slapd from Debian's package, on a free port, in a folder of its own, with people in it.

The same people are there twice: as OpenLDAP usually keeps them (``posixGroup`` names members by ``uid``), and as Active Directory
does (``sAMAccountName``, ``memberOf``, ``userAccountControl``).
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from .services import free_ports

BASE = "dc=example,dc=com"
SERVICE, SERVICE_PASSWORD = f"cn=admin,{BASE}", "service secret"
START_SECONDS = 30

_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
include {folder}/microsoft.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
database mdb
maxsize 10485760
suffix "{base}"
rootdn "{service}"
rootpw "{password}"
directory {folder}/data
overlay memberof
memberof-group-oc groupOfNames
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" write by users read by * none
"""

# What of Microsoft's schema the tests need, under numbers of a private range.
_MICROSOFT = """
attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.99999.1.2 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'adThing' SUP top AUXILIARY MAY ( sAMAccountName $ userAccountControl ) )
"""

_PEOPLE = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: uid=ann,ou=people,{BASE}
objectClass: inetOrgPerson
objectClass: posixAccount
objectClass: adThing
uid: ann
sAMAccountName: ann
userAccountControl: 512
memberOf: cn=Operators,{BASE}
cn: Ann Example
sn: Example
givenName: Ann
uidNumber: 1001
gidNumber: 500
homeDirectory: /home/ann
userPassword: ann's password

dn: uid=bob,ou=people,{BASE}
objectClass: inetOrgPerson
objectClass: posixAccount
objectClass: adThing
uid: bob
sAMAccountName: bob
userAccountControl: 512
cn: Bob Example
sn: Example
givenName: Bob
uidNumber: 1002
gidNumber: 501
homeDirectory: /home/bob
userPassword: bob:has:colons

dn: uid=gone,ou=people,{BASE}
objectClass: inetOrgPerson
objectClass: adThing
uid: gone
sAMAccountName: gone
userAccountControl: 514
cn: Gone
sn: Gone
givenName: Gone
userPassword: gone's password

dn: cn=staff,{BASE}
objectClass: posixGroup
cn: staff
gidNumber: 500

dn: cn=builders,{BASE}
objectClass: posixGroup
cn: builders
gidNumber: 600
memberUid: bob

dn: cn=Operators,{BASE}
objectClass: groupOfNames
objectClass: adThing
cn: Operators
sAMAccountName: operators
member: uid=ann,ou=people,{BASE}
"""


@dataclass
class Slapd:
    """A running directory."""

    port: int
    tls_port: int
    certificate: str
    process: subprocess.Popen[bytes]

    def openldap(self, **more: object) -> dict[str, object]:
        """A configuration as OpenLDAP's users write it."""
        return {
            "server": "localhost", "port": self.port, "tls": False, "domain": BASE, "serviceAccountUsername": SERVICE,
            "serviceAccountPassword": SERVICE_PASSWORD, "accessMode": "unrestricted", "enabled": False, **more,
        }  # fmt: skip

    def active_directory(self, **more: object) -> dict[str, object]:
        """The same of Active Directory."""
        told = {"userNameField": "cn", "groupNameField": "cn", "groupObjectClass": "groupOfNames"}
        return {**self.openldap(), **told, **more}


@contextlib.contextmanager
def slapd() -> Iterator[Slapd]:
    """Start one; gone at the end with all its data."""
    folder = Path(tempfile.mkdtemp(prefix="remuda-slapd-"))
    (folder / "data").mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (folder / "microsoft.schema").write_text(_MICROSOFT)
    conf = folder / "slapd.conf"
    conf.write_text(_CONF.format(folder=folder, base=BASE, service=SERVICE, password=SERVICE_PASSWORD))
    subprocess.run(["slapadd", "-f", conf], input=_PEOPLE.encode(), check=True, capture_output=True)
    port, tls_port = free_ports(2)
    urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["slapd", "-f", conf, "-h", urls, "-d", "0"], stdout=log, stderr=log)
    try:
        _listening(process, port, folder)
        yield Slapd(port, tls_port, authority.cert_pem.bytes().decode(), process)
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"slapd does not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
